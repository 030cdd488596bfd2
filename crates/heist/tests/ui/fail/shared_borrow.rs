//! A callback may keep a shared value for longer than any borrow.

fn main() {
    let text = String::from("here");
    let (promise, deferred) = heist::promise();
    let _shared = deferred.share();
    promise.set_result(&text).unwrap();
}
