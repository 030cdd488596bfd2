fn main() {
    let shared = std::rc::Rc::new(1);
    heist::spawn(async move {
        heist::task::yield_now().await;
        drop(shared);
    });
}
