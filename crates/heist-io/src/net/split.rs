//! The two directions of a stream, for two tasks.

use futures_io::{AsyncRead, AsyncWrite};
use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A stream that can be split.
#[doc(hidden)]
pub trait Halves {
    #[doc(hidden)]
    fn close_write(&self);
}

/// Reads from a stream that was split.
#[derive(Debug)]
pub struct OwnedReadHalf<S: Halves>(Arc<S>);

/// Writes to a stream that was split. Dropping it closes that direction.
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Halves> {
    stream: Arc<S>,
    open: bool,
}

pub(super) fn split<S: Halves>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    (
        OwnedReadHalf(Arc::clone(&stream)),
        OwnedWriteHalf { stream, open: true },
    )
}

impl<S: Halves> OwnedReadHalf<S> {
    /// The stream, for its other methods.
    pub fn get_ref(&self) -> &S {
        &self.0
    }

    /// Puts the stream together again.
    ///
    /// # Errors
    ///
    /// Gives both halves back if they are not of one stream.
    pub fn reunite(self, mut write: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.0, &write.stream) {
            return Err(ReuniteError(self, write));
        }
        write.open = false;
        drop(write);
        match Arc::try_unwrap(self.0) {
            Ok(stream) => Ok(stream),
            Err(_) => unreachable!("a stream has two halves"),
        }
    }
}

impl<S: Halves> OwnedWriteHalf<S> {
    /// The stream, for its other methods.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Drops the half, but leaves its direction open.
    pub fn forget(mut self) {
        self.open = false;
    }
}

impl<S: Halves> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.open {
            self.stream.close_write();
        }
    }
}

impl<S: Halves> AsyncRead for OwnedReadHalf<S>
where
    for<'a> &'a S: AsyncRead,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read(cx, buffer)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_read_vectored(cx, buffers)
    }
}

impl<S: Halves> AsyncWrite for OwnedWriteHalf<S>
where
    for<'a> &'a S: AsyncWrite,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.stream).poll_write_vectored(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.stream).poll_close(cx)
    }
}

/// The halves are not of one stream. They are in here.
pub struct ReuniteError<S: Halves>(
    /// The half that reads.
    pub OwnedReadHalf<S>,
    /// The half that writes.
    pub OwnedWriteHalf<S>,
);

impl<S: Halves> fmt::Debug for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReuniteError")
    }
}

impl<S: Halves> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the two halves are not of one stream; reunite those that `into_split` gave together",
        )
    }
}

impl<S: Halves> Error for ReuniteError<S> {}
