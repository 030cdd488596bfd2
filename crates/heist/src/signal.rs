//! Signals of the operating system.
//!
//! # Counterpart
//!
//! `loop.add_signal_handler`; `tokio::signal`.

pub use heist_io::signal::*;
