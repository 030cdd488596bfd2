//! How a leaf future finds the driver of the runtime that it is used in.

use crate::driver::IoDriver;
use crate::virtual_time;
use heist_core::context::{RuntimeContext, current_or_global, no_runtime, with_current};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Gives the driver of the current runtime, else of the process-wide one, to `f`.
///
/// # Errors
///
/// There is none, or the process-wide runtime cannot be started.
///
/// `f` runs under a borrow of the thread's context: it must not run code of the user.
pub(crate) fn with_driver<R>(f: impl FnOnce(&IoDriver) -> R) -> io::Result<R> {
    let mut f = Some(f);
    let mut run = |runtime: &Arc<dyn RuntimeContext>| {
        let driver = runtime.driver().as_any().downcast_ref::<IoDriver>()?;
        f.take().map(|f| f(driver))
    };
    let (entered, found) = with_current(|runtime| (runtime.is_some(), runtime.and_then(&mut run)));
    let found = if entered {
        found
    } else {
        run(&current_or_global()?)
    };
    found.ok_or_else(no_runtime)
}

/// The time by the clock of the current runtime; outside of any, by the machine's.
pub(crate) fn now() -> Instant {
    with_current(|runtime| runtime.map(|runtime| now_of(&**runtime))).unwrap_or_else(Instant::now)
}

/// The time by the clock of this runtime.
#[inline]
pub fn now_of(runtime: &dyn RuntimeContext) -> Instant {
    let virtual_time = virtual_time::is_used().then(|| virtual_time::of(runtime));
    match virtual_time.flatten() {
        None => runtime.platform().now(),
        Some(time) => time.now(),
    }
}

/// A random time of `most` at most.
pub(crate) fn random(most: Duration) -> Duration {
    let seed = with_current(|runtime| runtime.map(|runtime| runtime.platform().seed()));
    let seed = seed.unwrap_or_default();
    // A seed may be a counter.
    let random = BuildHasherDefault::<DefaultHasher>::default().hash_one(seed);
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random % nanos.saturating_add(1))
}
