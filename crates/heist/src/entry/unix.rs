//! Ctrl-C is SIGINT.

pub(super) use crate::signal::Signal;
pub(super) use heist_io::interrupt::Interrupt;

/// `None` where it cannot be listened to: then it ends the process as it always does.
pub(super) fn listen() -> Option<(Interrupt, Signal)> {
    Interrupt::listen().ok()
}
