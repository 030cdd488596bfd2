use std::rc::Rc;

#[heist::main(local)]
async fn main() {
    let shared = Rc::new(1);
    assert_eq!(*heist::spawn_local(async move { shared }).await.unwrap(), 1);
}
