//! What do a million tasks cost that wait for each other?

use heist_benches::bench::{compare, run};

fn main() {
    run(|criterion| {
        compare(criterion, "skynet");
    });
}
