//! One workload, several runtimes: what heist costs beside its peers.
//!
//! * [`backend`] puts every runtime behind one trait, with its defaults and nothing tuned.
//! * [`workload`] holds the workloads, written once against that trait.
//! * [`net`] holds those in which the runtime serves sockets in a process of its own.
//! * [`mod@bench`] runs both under criterion; the program `bench-one` runs one of them in a fresh process
//!   and prints one line, which `cargo xtask compare` and `cargo xtask gates` read.
//!
//! The default allocator is used throughout. A warm-up belongs to each run.

pub mod backend;
pub mod bench;
pub mod figures;
pub mod floor;
pub mod kit;
pub mod net;
pub mod workload;
