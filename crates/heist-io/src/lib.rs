//! Reactor, timers, sockets and signals of the heist runtime.
//!
//! Users depend on the facade, `heist`, which re-exports what stands here. A runtime makes an [`IoDriver`] and turns it;
//! the leaf futures of [`time`], [`net`], [`fd`] and `signal` find it through
//! [`heist_core::context`]:
//!
//! ```text
//!   time ─► timer ─► timer/wheel             net ─► fd ─► source ─► readiness
//!             └──────────► driver ◄────────── reactor ◄─────┘
//! ```
//!
//! Outside of any runtime, making a socket is an error and polling a timer panics; both say what to do. After the
//! runtime has been shut down, sources fail with [`RuntimeGone`](heist_core::error::RuntimeGone) and timers panic with
//! its message.
//!
//! `unsafe` lives in `timer` and its wheel, in the portable half of the reactor, in `signal` and `interrupt`, and in the implementations
//! of foreign traits.

#![deny(unsafe_code)]

mod context;
mod driver;
pub mod fd;
#[cfg(feature = "hyper")]
#[allow(unsafe_code, reason = "hyper's cursors give out uninitialised memory")]
pub mod hyper;
#[cfg(unix)]
#[doc(hidden)]
#[allow(
    unsafe_code,
    reason = "what a signal handler does is the caller's to prove"
)]
pub mod interrupt;
pub mod net;
#[doc(hidden)]
pub mod park;
mod reactor;
#[doc(hidden)]
pub mod readiness;
#[cfg(unix)]
#[allow(
    unsafe_code,
    reason = "what a signal handler does is the caller's to prove"
)]
pub mod signal;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod sync;
mod sys;
pub mod time;
#[doc(hidden)]
#[allow(
    unsafe_code,
    reason = "timers are intrusive: they lie in the futures that wait for them"
)]
pub mod timer;
#[cfg(feature = "tokio-io")]
#[allow(unsafe_code, reason = "tokio's buffers give out uninitialised memory")]
mod tokio_io;
pub mod virtual_time;
#[doc(hidden)]
pub mod wake;

#[cfg(all(test, unix))]
#[allow(
    clippy::unwrap_used,
    reason = "tests only, where an unwrap is an assertion"
)]
mod tests;

pub use driver::IoDriver;
