//! What does it cost to give way to the others?

use heist_benches::bench::{compare, run};

fn main() {
    run(|criterion| {
        compare(criterion, "yield_many");
    });
}
