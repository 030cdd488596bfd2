//! Ctrl-C is SIGINT.

pub(super) use crate::signal::Signal;
use crate::signal::{SignalKind, signal};

/// `None` where it cannot be listened to: then it ends the process as it always does.
pub(super) fn ctrl_c() -> Option<Signal> {
    signal(SignalKind::interrupt()).ok()
}
