fn main() {
    let runtime = heist::Runtime::new().unwrap();
    runtime.scope(|scope| {
        let inside = String::from("gone with the closure");
        scope.spawn(async { inside.len() });
    });
}
