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
