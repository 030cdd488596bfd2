//! Behaviour over real sockets, signals and clocks, on a runtime of one thread.

mod edges;
#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
mod failing;
mod gone;
mod halves;
mod harness;
mod net;
mod options;
mod signal;
mod source;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod stale;
mod time;
#[cfg(feature = "tokio-io")]
mod tokio_io;
