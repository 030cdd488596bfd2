//! Tests that need no real time: a clock that jumps.
//!
//! The clock of a runtime with [virtual time](crate::Builder::virtual_time) stands still while anything runs. When nothing does, it jumps to the next
//! timer: an hour of sleeps takes no longer than what is done in between. What runs is a task that is queued or polled, or a blocking closure that
//! waits for its thread or runs, unless it waits in a [`block_on`](crate::block_on) of the same runtime itself. Other threads do not count, nor what is on its
//! way over a network.
//!
//! ```
//! use heist::testing::settle;
//! use heist::time::{Duration, now, sleep, timeout};
//!
//! #[heist::test(virtual_time)]
//! async fn a_request_is_given_up_after_a_minute() {
//!     let begun = now();
//!     let request = heist::spawn(timeout(Duration::from_secs(60), std::future::pending::<()>()));
//!     settle().await; // it has begun to wait
//!     sleep(Duration::from_secs(59)).await;
//!     assert!(!request.is_finished());
//!     assert!(request.await.unwrap().is_err());
//!     assert_eq!(now() - begun, Duration::from_secs(60));
//! }
//! # fn main() {}
//! ```
//!
//! Stepped by hand, it goes as far as it is told:
//!
//! ```
//! use heist::testing::{advance, set_auto_advance};
//! use heist::time::{Duration, sleep};
//!
//! # fn main() -> std::io::Result<()> {
//! let runtime = heist::Runtime::builder().worker_threads(2).virtual_time(true).build()?;
//! runtime.block_on(async {
//!     set_auto_advance(false);
//!     let hour = heist::spawn(sleep(Duration::from_secs(3600)));
//!     advance(Duration::from_secs(3599)).await;
//!     assert!(!hour.is_finished());
//!     advance(Duration::from_secs(1)).await;
//!     assert!(hour.is_finished());
//! });
//! # Ok(())
//! # }
//! ```
//!
//! [`std::time::Instant::now`] is the machine's time; [`time::now`](crate::time::now) is the runtime's.

pub use heist_io::virtual_time::{advance, set_auto_advance, settle};
