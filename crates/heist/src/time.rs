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
//!
//! The clock is the runtime's, and may be [virtual](crate::testing) in tests:
//!
//! ```
//! use heist::time::{Duration, now, sleep};
//!
//! heist::run(async {
//!     let before = now();
//!     sleep(Duration::from_millis(1)).await;
//!     assert!(now() - before >= Duration::from_millis(1));
//! });
//! ```
//!
//! A limit that a client which sends something moves:
//!
//! ```
//! use heist::time::{Duration, Instant, sleep, timeout_with};
//!
//! heist::run(async {
//!     let done = timeout_with(Duration::from_millis(10), async |limit| {
//!         limit.reschedule(Some(Instant::now() + Duration::from_secs(10)));
//!         sleep(Duration::from_millis(30)).await;
//!         limit.expired()
//!     });
//!     assert_eq!(done.await, Ok(false));
//! });
//! ```

mod deadline;
mod periodic;

pub use std::time::{Duration, Instant};

pub(crate) use deadline::{Due, without_deadline};
pub use deadline::{deadline, with_deadline};
pub use periodic::PeriodicCallback;

pub use heist_io::time::*;
