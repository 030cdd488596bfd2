//! How a leaf future finds the driver of the runtime that it is used in.

use crate::driver::IoDriver;
use heist_core::context::{RuntimeContext, current_or_global, with_current};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Gives the driver of the current runtime, else of the process-wide one, to `f`. `None` if there is none.
///
/// `f` runs under a borrow of the thread's context: it must not run code of the user.
pub(crate) fn with_driver<R>(f: impl FnOnce(&IoDriver) -> R) -> Option<R> {
    let mut f = Some(f);
    let mut run = |runtime: &Arc<dyn RuntimeContext>| {
        let driver = runtime.driver().as_any().downcast_ref::<IoDriver>()?;
        f.take().map(|f| f(driver))
    };
    let (entered, found) = with_current(|runtime| (runtime.is_some(), runtime.and_then(&mut run)));
    if entered {
        found
    } else {
        current_or_global().as_ref().and_then(run)
    }
}

/// The time by the clock of the current runtime; outside of any, by the machine's.
pub(crate) fn now() -> Instant {
    with_current(|runtime| runtime.map(|runtime| runtime.platform().now()))
        .unwrap_or_else(Instant::now)
}

/// The error of a source that is made outside of any runtime.
#[cold]
pub(crate) fn no_runtime_error() -> io::Error {
    io::Error::other(
        "there is no heist runtime here; do this in a task, or inside of `Handle::enter`",
    )
}

#[cold]
#[track_caller]
pub(crate) fn no_runtime(what: &str) -> ! {
    panic!(
        "`{what}` needs a heist runtime with a timer; poll it in a task, or inside of `Handle::enter`"
    )
}
