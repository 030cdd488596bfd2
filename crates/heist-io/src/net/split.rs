//! The two directions of a connection, for two tasks.

use super::TcpStream;
use super::stream::{Connection, reading, writing};
use crate::fd::Async;
use crate::sync::Arc;
use std::error::Error;
use std::fmt;
use std::io;

pub(super) fn split<S: Connection>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    let read = OwnedReadHalf {
        stream: Arc::clone(&stream),
    };
    let write = OwnedWriteHalf {
        stream,
        shutdown_on_drop: true,
    };
    (read, write)
}

/// The reading half of a stream. Made by [`TcpStream::into_split`] and its namesake on Unix streams.
///
/// The stream itself, for its other methods, is behind [`AsRef`].
///
/// # Counterpart
///
/// `asyncio.StreamReader`; tokio's type of this name.
#[derive(Debug)]
pub struct OwnedReadHalf<S: Connection = TcpStream> {
    stream: Arc<S>,
}

/// The writing half of a stream. Made by [`TcpStream::into_split`] and its namesake on Unix streams.
///
/// Dropping it shuts down the write side: the peer reads the end of the stream. The stream itself, for its other methods,
/// is behind [`AsRef`].
///
/// # Counterpart
///
/// `asyncio.StreamWriter`, whose `write_eof` is closing this one; tokio's type of this name.
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Connection = TcpStream> {
    stream: Arc<S>,
    shutdown_on_drop: bool,
}

impl<S: Connection> OwnedReadHalf<S> {
    /// Puts the halves of one stream together again.
    ///
    /// # Errors
    ///
    /// [`ReuniteError`], with both halves, if they are of different streams.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use heist_io as heist;
    /// # async fn work() -> Result<(), Box<dyn std::error::Error>> {
    /// use heist::net::TcpStream;
    ///
    /// let stream = TcpStream::connect("127.0.0.1:7").await?;
    /// let (reading, writing) = stream.into_split();
    /// // One task reads and another one writes, until both are done.
    /// let stream = reading.reunite(writing)?;
    /// # drop(stream); Ok(())
    /// # }
    /// ```
    pub fn reunite(self, other: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.stream, &other.stream) {
            return Err(ReuniteError(self, other));
        }
        other.forget();
        match Arc::try_unwrap(self.stream) {
            Ok(stream) => Ok(stream),
            Err(_) => unreachable!("a stream has two halves"),
        }
    }

    pub(crate) fn io(&self) -> &Async<S::Socket> {
        self.stream.io()
    }
}

impl<S: Connection> OwnedWriteHalf<S> {
    /// Drops the half, and leaves the write side open.
    pub fn forget(mut self) {
        self.shutdown_on_drop = false;
    }

    pub(crate) fn io(&self) -> &Async<S::Socket> {
        self.stream.io()
    }

    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.stream.close()?;
        self.shutdown_on_drop = false;
        Ok(())
    }
}

impl<S: Connection> AsRef<S> for OwnedReadHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Connection> AsRef<S> for OwnedWriteHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Connection> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.shutdown_on_drop {
            let _ = self.stream.close();
        }
    }
}

reading!([S: Connection] OwnedReadHalf<S>);
writing!([S: Connection] OwnedWriteHalf<S>);

/// Two halves that are of different streams. They can be taken out again.
#[derive(Debug)]
pub struct ReuniteError<S: Connection = TcpStream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S: Connection> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these are halves of different streams; reunite the two that came from one `into_split`")
    }
}

impl<S: Connection> Error for ReuniteError<S> {}
