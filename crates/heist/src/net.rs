//! Sockets: readiness based, on the runtime's reactor.
//!
//! Streams implement `futures_io::{AsyncRead, AsyncWrite}`, shared references to them too; with the feature `hyper`
//! also `hyper::rt::{Read, Write}`, with `tokio-io` also `tokio::io::{AsyncRead, AsyncWrite}`.
//!
//! # Counterpart
//!
//! `loop.sock_recv` and its siblings, `asyncio.open_connection`, `start_server`.

pub use heist_io::net::*;
