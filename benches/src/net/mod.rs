//! The workloads in which a runtime serves sockets. The server is a process of its own, so that its CPU time and its
//! memory are the runtime's alone; the load comes from this process, by a plain epoll loop without any of the runtimes.

mod client;
mod load;
pub mod serve;
mod server;

use std::io;
use std::path::Path;

pub use self::client::Client;
pub use self::load::{find, names};
pub use self::server::Server;
use crate::figures::Figures;

/// Which runtime serves.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The path of the program `bench-one`.
    pub program: &'a Path,
    /// A name out of [`NAMES`](crate::backend::NAMES).
    pub backend: &'a str,
    /// How many workers it has.
    pub workers: usize,
}

/// A load on a server.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What the command line calls it.
    pub name: &'static str,
    /// How many operations a run makes unless told otherwise.
    pub operations: u64,
    /// Makes a run.
    pub run: fn(&Target<'_>, u64) -> io::Result<Figures>,
}
