//! How long does a wake from outside take to arrive?

use heist_benches::bench::{compare, run};

fn main() {
    run(|criterion| {
        compare(criterion, "wake_latency_idle");
        compare(criterion, "wake_latency_busy");
        compare(criterion, "sleep_1ms");
    });
}
