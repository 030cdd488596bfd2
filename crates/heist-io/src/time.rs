//! Sleeping, timeouts and intervals.
//!
//! Time is that of the runtime's [`Platform`](heist_core::platform::Platform). A sleep never ends early. Sleeps that one
//! thread armed for the same instant end in the order in which they were first polled.
//!
//! Making any of these needs no runtime and touches none; polling does.

mod interval;
mod limit;
mod sleep;
mod timeout;

pub use interval::{Interval, MissedTickBehavior, Tick, interval, interval_at};
pub use limit::{Limit, timeout_with};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

/// The time by the clock of the current runtime, which may be virtual; outside of any, by the machine's.
///
/// # Counterpart
///
/// `loop.time()`.
#[doc(alias = "loop.time")]
#[must_use]
pub fn now() -> std::time::Instant {
    crate::context::now()
}
