//! Readiness of any file descriptor.
//!
//! # Counterpart
//!
//! `loop.add_reader`, `add_writer`; tokio's `AsyncFd`.

pub use heist_io::fd::*;
