//! What does a task cost that a thread outside spawns, on idle and on busy workers?

use heist_benches::bench::{compare, run};

fn main() {
    run(|criterion| {
        compare(criterion, "spawn_remote");
        compare(criterion, "spawn_remote_busy");
    });
}
