//! Prints the table of mutations for the runner.

#![cfg(loom)]

#[test]
#[expect(clippy::print_stdout, reason = "the runner reads it")]
fn mutations() {
    for (model, mutation) in heist_loom_tests::MUTATIONS {
        println!("mutation {model} {mutation}");
    }
}
