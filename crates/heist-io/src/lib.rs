//! Reactor, timers, sockets and signals of the heist runtime.
//!
//! One [`IoDriver`] per runtime: its scheduler lets one thread at a time be inside of it. A leaf future finds the driver of the runtime
//! that it is used in by core's context, once, when it registers. Depend on `heist`, which composes this with a scheduler; what
//! is public here is so for its sibling crates.
//!
//! | | Linux | macOS, FreeBSD | Windows |
//! |---|---|---|---|
//! | poller | epoll, edges | kqueue, edges | `polling`, one event at a time |
//! | TCP, UDP, timers | yes | yes | yes |
//! | Unix sockets, signals, any descriptor | yes | yes | no |

#![deny(unsafe_code)]

mod context;
mod driver;
#[cfg(unix)]
pub mod fd;
#[cfg(feature = "hyper")]
pub mod hyper;
pub mod net;
mod reactor;
mod readiness;
#[cfg(unix)]
#[allow(unsafe_code, reason = "installing a signal handler")]
pub mod signal;
mod source;
#[allow(unsafe_code, reason = "the shim wraps cells")]
mod sync;
mod sys;
pub mod time;
#[allow(unsafe_code, reason = "the wheel links nodes that lie in pinned futures")]
mod timer;
mod wake;

#[cfg(test)]
mod test_support;

pub use driver::IoDriver;
pub use readiness::{Interest, Ready};
