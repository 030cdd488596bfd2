//! What a promise takes is what the other side gets.

use heist::Promise;

fn shorten<'a>(promise: Promise<&'static str>) -> Promise<&'a str> {
    promise
}

fn main() {
    let (promise, deferred) = heist::promise::<&'static str>();
    {
        let text = String::from("gone");
        shorten(promise).set_result(&text).unwrap();
    }
    println!("{:?}", deferred.result());
}
