#[heist::test(timeout = "soon")]
async fn works() {}

fn main() {}
