//! `miri`: undefined behaviour and data races, in the crates that have unsafe code.
//!
//! A test whose name has the word `race` in it depends on the order of its threads: it runs with many seeds.

use crate::process::{Outcome, show};
use crate::project::{self, cargo, take_switch};

const FLAGS: &str = "-Zmiri-strict-provenance -Zmiri-symbolic-alignment-check";

/// The other model of what a pointer may be used for.
const TREE_BORROWS: &str = "-Zmiri-tree-borrows";

pub(crate) const CORE_RACES: &str = "-p heist-core --tests race";

pub(crate) const SYNC_RACES: &str = "-p heist-sync --lib race";

/// What of heist-io Miri can run: the reactor, behind a stand-in for the poller, and what is below the sockets.
const IO: &str = "-p heist-io --lib -- poller:: reactor:: source::tests readiness:: timer::";

/// Those of them that depend on the order of their threads.
pub(crate) const IO_RACES: &str =
    "-p heist-io --lib -- poller::races timer::tests::cancel_reset_and_fire_race";

/// `--quick` leaves out the second aliasing model, most seeds and the slower tests, `--full` adds the scheduler and all of heist-io
/// that it can run.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut words = words.to_vec();
    let (quick, full) = (
        take_switch(&mut words, "--quick"),
        take_switch(&mut words, "--full"),
    );
    if !words.is_empty() || (quick && full) {
        return Err("usage: cargo xtask miri [--quick | --full]".to_owned());
    }
    let seeds = if quick { 4 } else { 64 };
    for aliasing in if quick {
        &[""][..]
    } else {
        &["", TREE_BORROWS]
    } {
        if quick {
            miri("-p heist-core --lib", aliasing)?;
        } else {
            miri("-p heist-core --lib --tests", aliasing)?;
        }
        miri(
            CORE_RACES,
            &format!("{aliasing} -Zmiri-many-seeds=0..{seeds}"),
        )?;
        miri("-p heist-sync --lib", aliasing)?;
        miri(
            SYNC_RACES,
            &format!("{aliasing} -Zmiri-many-seeds=0..{seeds}"),
        )?;
        miri(
            IO_RACES,
            &format!("{aliasing} -Zmiri-many-seeds=0..{seeds}"),
        )?;
        if full {
            miri(IO, aliasing)?;
            miri("-p heist-scheduler --lib", aliasing)?;
        }
    }
    Ok(())
}

fn miri(what: &str, more: &str) -> Outcome {
    let mut command = cargo(&format!("+nightly miri test {what}"));
    show(
        command
            .env("MIRIFLAGS", format!("{FLAGS} {more}"))
            .env("CARGO_TARGET_DIR", project::target("miri")),
    )
}
