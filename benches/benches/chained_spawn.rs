//! How fast is one task after the other?

use heist_benches::bench::{compare, run};

fn main() {
    run(|criterion| {
        compare(criterion, "chained_spawn");
    });
}
