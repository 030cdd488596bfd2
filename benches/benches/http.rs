//! What does a request cost a hyper server?

use heist_benches::bench::{compare_servers, run};

fn main() {
    run(|criterion| {
        let program = env!("CARGO_BIN_EXE_bench-one");
        compare_servers(criterion, program, "http_fixed");
    });
}
