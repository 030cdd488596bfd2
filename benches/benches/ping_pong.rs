//! What does it cost to wake another task and to be woken by it?

use heist_benches::bench::{compare, run};

fn main() {
    run(|criterion| {
        compare(criterion, "ping_pong");
        compare(criterion, "chan_ping_pong");
    });
}
