//! Behaviour over real sockets, signals and clocks, on a runtime of one thread.

mod edges;
mod gone;
mod halves;
mod harness;
mod net;
mod options;
mod signal;
mod source;
mod time;
#[cfg(feature = "tokio-io")]
mod tokio_io;
