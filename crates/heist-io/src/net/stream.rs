//! What TCP and Unix streams have in common: reading and writing through an [`Async`].

use crate::fd::{Async, Interest};
use crate::sys::{self, AsSource};
use socket2::SockRef;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::task::{Context, Poll};

/// Reads into `buf` with `recv`.
#[inline]
pub(crate) fn poll_read<T>(
    io: &Async<T>,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>>
where
    T: AsSource,
    for<'a> &'a T: Read,
{
    let len = buf.len();
    io.poll_run(
        cx,
        Interest::Readable,
        |mut io| io.read(buf),
        |read| short(*read, len),
    )
}

pub(crate) fn poll_read_vectored<T>(
    io: &Async<T>,
    cx: &mut Context<'_>,
    bufs: &mut [IoSliceMut<'_>],
) -> Poll<io::Result<usize>>
where
    T: AsSource,
    for<'a> &'a T: Read,
{
    let len = bufs.iter().map(|buf| buf.len()).sum();
    io.poll_run(
        cx,
        Interest::Readable,
        |mut io| io.read_vectored(bufs),
        |read| short(*read, len),
    )
}

/// Reads into memory that need not be initialised; the first `n` bytes are afterwards.
#[cfg_attr(
    not(any(feature = "hyper", feature = "tokio-io")),
    expect(dead_code, reason = "those two have such memory")
)]
pub(crate) fn poll_read_uninit<T: AsSource>(
    io: &Async<T>,
    cx: &mut Context<'_>,
    buf: &mut [MaybeUninit<u8>],
) -> Poll<io::Result<usize>> {
    let len = buf.len();
    io.poll_run(
        cx,
        Interest::Readable,
        |io| SockRef::from(io).recv(buf),
        |read| short(*read, len),
    )
}

#[inline]
pub(crate) fn poll_write<T: AsSource>(
    io: &Async<T>,
    cx: &mut Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>> {
    io.poll_run(
        cx,
        Interest::Writable,
        |io| sys::send(io, buf),
        |sent| short(*sent, buf.len()),
    )
}

pub(crate) fn poll_write_vectored<T: AsSource>(
    io: &Async<T>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let len = bufs.iter().map(|buf| buf.len()).sum();
    io.poll_run(
        cx,
        Interest::Writable,
        |io| sys::send_vectored(io, bufs),
        |sent| short(*sent, len),
    )
}

/// Whether a transfer stopped because nothing was left, and not at the end of the stream.
const fn short(done: usize, wanted: usize) -> bool {
    0 < done && done < wanted
}

/// That a socket is not connected is no reason not to close it.
pub(crate) fn ignore_not_connected(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

/// The stream traits of a type that has its socket in `io` and a method `shutdown`, by value and by reference.
macro_rules! stream_traits {
    ($($type:ty),*) => {$(
        impl futures_io::AsyncRead for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                crate::net::stream::poll_read(&self.io, cx, buf)
            }

            fn poll_read_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                crate::net::stream::poll_read_vectored(&self.io, cx, bufs)
            }
        }

        impl futures_io::AsyncWrite for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                crate::net::stream::poll_write(&self.io, cx, buf)
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                crate::net::stream::poll_write_vectored(&self.io, cx, bufs)
            }

            /// Nothing is kept back here.
            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                _cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(Ok(()))
            }

            /// Shuts down the write side.
            fn poll_close(
                self: std::pin::Pin<&mut Self>,
                _cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(self.shutdown(std::net::Shutdown::Write))
            }
        }
    )*};
}
pub(crate) use stream_traits;
