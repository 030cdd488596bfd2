//! What does a task cost that a task spawns?

use heist_benches::bench::{compare, run};

fn main() {
    run(|criterion| {
        compare(criterion, "spawn_local");
        compare(criterion, "spawn_detached");
    });
}
