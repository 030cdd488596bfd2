//! Behaviour over real sockets, signals and clocks, on a runtime of one thread.

mod gone;
mod harness;
mod net;
mod signal;
mod source;
mod time;
