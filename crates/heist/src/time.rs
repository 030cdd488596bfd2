//! Sleeping, limits, and things that happen again and again.
//!
//! ```
//! use heist::time::{Duration, sleep, timeout};
//!
//! heist::run(async {
//!     sleep(Duration::from_millis(1)).await;
//!     let late = timeout(Duration::from_millis(5), std::future::pending::<()>()).await;
//!     assert!(late.is_err());
//! });
//! ```

pub use std::time::{Duration, Instant};

pub use heist_io::time::*;

use crate::global;

/// Waits for some time.
///
/// Never ends early. On the runtime of whoever polls it first, else on the process-wide one.
///
/// # Panics
///
/// When it is polled and its runtime is gone.
///
/// # Cancel safety
///
/// Dropping it cancels the timer.
///
/// # Examples
///
/// ```
/// use heist::time::{Duration, Instant, sleep};
///
/// let start = Instant::now();
/// heist::run(sleep(Duration::from_millis(2)));
/// assert!(start.elapsed() >= Duration::from_millis(2));
/// ```
///
/// # Counterpart
///
/// `asyncio.sleep`.
#[doc(alias = "asyncio.sleep")]
pub fn sleep(d: Duration) -> Sleep {
    global::install();
    heist_io::time::sleep(d)
}

/// Waits until an instant; one that is past is due at once. See [`sleep`].
///
/// # Panics
///
/// When it is polled and its runtime is gone.
///
/// # Cancel safety
///
/// Dropping it cancels the timer.
#[doc(alias = "call_at")]
pub fn sleep_until(t: Instant) -> Sleep {
    global::install();
    heist_io::time::sleep_until(t)
}
