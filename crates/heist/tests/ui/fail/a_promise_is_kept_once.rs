fn main() {
    let (promise, _deferred) = heist::promise();
    let _ = promise.set_result(1);
    let _ = promise.set_result(2);
}
