//! What the runtime asks of the machine: the time, a way to sleep, and randomness.
//!
//! A [`Platform`] is handed to the scheduler at start and read by everything that runs on it, so that a
//! simulator can replace all three at run time. This crate only fixes the contract.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Clock, parkers and victim randomness of one runtime.
pub trait Platform: fmt::Debug + Send + Sync + 'static {
    /// The time by which timers fire. Never goes back.
    fn now(&self) -> Instant;

    /// A parker for the calling thread. Only the thread that asked for it parks on it.
    fn parker(&self) -> Arc<dyn Parker>;

    /// A seed for the order in which one worker visits its victims.
    fn seed(&self) -> u64;
}

/// Puts one thread to sleep until somebody unparks it.
///
/// A parker holds at most one token. `unpark` leaves one, `park` takes it; a `park` that finds one
/// returns at once. What a thread wrote before `unpark` is visible after the `park` that took its token.
pub trait Parker: fmt::Debug + Send + Sync + 'static {
    /// Sleeps until unparked or until `deadline` (`None`: no limit). May return spuriously.
    fn park(&self, deadline: Option<Instant>);

    /// Leaves a token and wakes the thread. From any thread.
    fn unpark(&self);
}
