//! Work-stealing scheduler of the heist runtime: workers, queues, parking, the pool for blocking closures, shutdown.
//!
//! Depend on `heist`, which composes this crate with the others. What is public here is so for the facade, and for
//! models that reach into a protocol.
//!
//! ```text
//!  scheduler ── start, spawn, block_on, shutdown          local ── the same on one thread
//!      │                                                    │
//!   shared ◄── worker ── queue, steal, rng                  │
//!      │          └───── sleep (README.md), driver role     │
//!      ├── blocking ◄───────────────────────────────────────┤
//!      ├── monitor ── activity                              │
//!      ├── call ◄───────────────────────────────────────────┤
//!      └── threads, shutdown, metrics, config ◄─────────────┘
//! ```

#![deny(unsafe_code)]

mod activity;
mod block_on;
mod blocking;
mod call;
mod config;
mod local;
mod metrics;
#[doc(hidden)]
pub mod models;
mod monitor;
mod platform;
mod queue;
mod quiet;
mod rng;
mod scheduler;
mod shared;
mod shutdown;
mod sleep;
mod steal;
mod stop;
#[doc(hidden)]
pub mod sync;
mod threads;
mod worker;

pub use activity::{Activity, Syscall};
pub use call::{Call, CallHandle, Kept};
pub use config::{Config, ConfigError, ExceptionHandler, StallHook, ThreadHook};
pub use local::{LocalHandle, LocalScheduler};
pub use metrics::{Metrics, WorkerMetrics};
pub use monitor::Stall;
pub use platform::SystemPlatform;
pub use scheduler::Scheduler;
pub use shutdown::ShutdownReport;
