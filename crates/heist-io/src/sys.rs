//! What a source is on this system: a file descriptor, or a socket.

#[cfg(unix)]
#[path = "sys/unix.rs"]
mod imp;
#[cfg(windows)]
#[path = "sys/windows.rs"]
mod imp;

pub(crate) use imp::*;
