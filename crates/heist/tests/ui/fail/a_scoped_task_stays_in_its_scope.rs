fn main() {
    let runtime = heist::Runtime::new().unwrap();
    let task = runtime.scope(|scope| scope.spawn(async { 1 }));
    let _ = task.wait_blocking();
}
