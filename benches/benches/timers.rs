//! What do timers cost that are dropped, and timers that fire?

use heist_benches::bench::{compare, run};

fn main() {
    run(|criterion| {
        compare(criterion, "timer_churn");
        compare(criterion, "timers_many");
    });
}
