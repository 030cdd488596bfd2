//! What does a message cost an echo server?

use heist_benches::bench::{compare_servers, run};

fn main() {
    run(|criterion| {
        let program = env!("CARGO_BIN_EXE_bench-one");
        compare_servers(criterion, program, "tcp_echo_1");
        compare_servers(criterion, program, "tcp_echo_64");
        compare_servers(criterion, program, "tcp_echo_1000");
    });
}
