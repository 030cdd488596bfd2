//! What do spawn and join cost in a divide-and-conquer program?

use heist_benches::bench::{compare, run};

fn main() {
    run(|criterion| {
        compare(criterion, "fork_join_fib");
    });
}
