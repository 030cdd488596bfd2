//! What nobody but the process can see: hangs and panics.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use heist::TaskError;

use super::{Expected, World, lock, quiet};

/// How the line of a failure begins.
pub(crate) const FAIL: &str = "FAIL";

/// How long a program may take at most.
const LONGEST: Duration = Duration::from_secs(90);

pub(super) static WORLDS: Mutex<Vec<Weak<World>>> = Mutex::new(Vec::new());

/// Held by whoever reports: one report is enough.
pub(super) static FAILING: Mutex<()> = Mutex::new(());

/// As [`World::fail`], where nobody knows which program is to blame.
pub(crate) fn fail_anywhere(problem: &str) -> ! {
    let worlds: Vec<_> = lock(&WORLDS).iter().filter_map(Weak::upgrade).collect();
    let _one = lock(&FAILING);
    if worlds.is_empty() {
        println!("FAIL {problem}");
    }
    for world in worlds {
        println!(
            "{FAIL} seed={} {problem}\n{}",
            world.program.seed, world.program
        );
    }
    std::process::abort();
}

/// Makes the panics that programs ask for silent, and all others failures.
pub(crate) fn watch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        if payload.is::<Expected>() || payload.is::<TaskError>() {
            return;
        }
        // What a leaf future says when its runtime has ended: only to those that outlive it.
        let text = panic.to_string();
        let closing = lock(&WORLDS)
            .iter()
            .filter_map(Weak::upgrade)
            .any(|world| world.is_closing());
        if closing && text.contains("runtime") {
            return;
        }
        let trace = std::backtrace::Backtrace::force_capture();
        fail_anywhere(&format!("an unexpected panic: {text}\n{trace}"));
    }));
}

/// Looks whether programs go on.
pub(crate) fn watchdog() -> ! {
    let mut seen: BTreeMap<usize, (u64, Instant, Instant)> = BTreeMap::new();
    loop {
        thread::sleep(Duration::from_millis(500));
        let worlds: Vec<_> = lock(&WORLDS).iter().filter_map(Weak::upgrade).collect();
        seen.retain(|key, _| worlds.iter().any(|world| Arc::as_ptr(world).addr() == *key));
        for world in worlds {
            let now = Instant::now();
            let beats = world.beats.load(SeqCst);
            let key = Arc::as_ptr(&world).addr();
            let (last, since, begun) = seen.entry(key).or_insert((beats, now, now));
            if *last != beats {
                (*last, *since) = (beats, now);
            }
            let quiet = quiet();
            if since.elapsed() > quiet {
                world.fail(&format!(
                    "hangs: nothing happened for {quiet:?}: {}",
                    world.alive()
                ));
            }
            if begun.elapsed() > LONGEST {
                world.fail(&format!("not over after {LONGEST:?}: {}", world.alive()));
            }
        }
    }
}
