//! What TCP and Unix streams have in common.
//!
//! A stream is a type with its socket in an [`Async`]: it reads and writes through the functions here, whichever of the
//! traits (of `futures_io`, hyper, tokio) asks for it. [`Connection`] is what the halves of a split stream are generic
//! over. Methods and trait impls that differ in nothing but the type are macros, since a blanket impl of a foreign trait
//! is not allowed and users should not need a trait of ours to call `readable`.

use crate::fd::{Async, Interest};
use crate::sys::{self, AsSource};
use socket2::SockRef;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::{self, Shutdown};
use std::task::{Context, Poll};

/// A stream that can be [split](super::OwnedReadHalf): [`TcpStream`](super::TcpStream), and `UnixStream` on Unix.
///
/// For bounds on code that is given halves of either. Cannot be implemented outside of this crate.
pub trait Connection: sealed::Sealed {}

pub(crate) use sealed::{Sealed, Socket};

mod sealed {
    use super::{AsSource, Async, Shutdown, SockRef, fmt, io};

    /// The standard type inside of a stream.
    #[allow(
        unnameable_types,
        unreachable_pub,
        reason = "nobody outside implements the trait that it belongs to; compilers differ in which lint sees that"
    )]
    pub trait Socket: AsSource + fmt::Debug {
        /// Whether a read that got less than it asked for has got all there was.
        const SHORT_READ_DRAINS: bool;
    }

    #[expect(
        unnameable_types,
        reason = "that is what keeps others from implementing it"
    )]
    pub trait Sealed: fmt::Debug {
        type Socket: Socket;

        fn io(&self) -> &Async<Self::Socket>;

        /// Shuts down the write side. That it is not connected is no reason not to close it.
        fn close(&self) -> io::Result<()> {
            shut_down(self.io(), Shutdown::Write)
        }
    }

    pub(crate) fn shut_down(io: &Async<impl Socket>, how: Shutdown) -> io::Result<()> {
        match SockRef::from(io.get_ref()).shutdown(how) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }
}

pub(crate) use sealed::shut_down;

impl Socket for net::TcpStream {
    const SHORT_READ_DRAINS: bool = true;
}

/// More slices than this in one call are an error on most systems; elsewhere nobody misses them.
const MAX_SLICES: usize = 1024;

/// Reads into `buf` with `recv`.
#[inline]
pub(crate) fn poll_read<T: Socket>(
    io: &Async<T>,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let len = buf.len();
    io.poll_run(
        cx,
        Interest::Readable,
        |io| (&*SockRef::from(io)).read(buf),
        |read| drained::<T>(*read, len),
    )
}

pub(crate) fn poll_read_vectored<T: Socket>(
    io: &Async<T>,
    cx: &mut Context<'_>,
    bufs: &mut [IoSliceMut<'_>],
) -> Poll<io::Result<usize>> {
    let bufs = at_most_mut(bufs);
    let len = bufs.iter().map(|buf| buf.len()).sum();
    io.poll_run(
        cx,
        Interest::Readable,
        |io| (&*SockRef::from(io)).read_vectored(bufs),
        |read| drained::<T>(*read, len),
    )
}

/// Reads into memory that need not be initialised; the first `n` bytes are afterwards.
#[cfg_attr(
    not(any(feature = "hyper", feature = "tokio-io")),
    expect(dead_code, reason = "those two have such memory")
)]
pub(crate) fn poll_read_uninit<T: Socket>(
    io: &Async<T>,
    cx: &mut Context<'_>,
    buf: &mut [MaybeUninit<u8>],
) -> Poll<io::Result<usize>> {
    let len = buf.len();
    io.poll_run(
        cx,
        Interest::Readable,
        |io| SockRef::from(io).recv(buf),
        |read| drained::<T>(*read, len),
    )
}

#[inline]
pub(crate) fn poll_write<T: Socket>(
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

pub(crate) fn poll_write_vectored<T: Socket>(
    io: &Async<T>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let bufs = at_most(bufs);
    let len = bufs.iter().map(|buf| buf.len()).sum();
    io.poll_run(
        cx,
        Interest::Writable,
        |io| sys::send_vectored(io, bufs),
        |sent| short(*sent, len),
    )
}

pub(crate) fn try_read<T: Socket>(io: &Async<T>, buf: &mut [u8]) -> io::Result<usize> {
    io.try_io(Interest::Readable, |io| (&*SockRef::from(io)).read(buf))
}

pub(crate) fn try_read_vectored<T: Socket>(
    io: &Async<T>,
    bufs: &mut [IoSliceMut<'_>],
) -> io::Result<usize> {
    io.try_io(Interest::Readable, |io| {
        (&*SockRef::from(io)).read_vectored(at_most_mut(bufs))
    })
}

pub(crate) fn try_write<T: Socket>(io: &Async<T>, buf: &[u8]) -> io::Result<usize> {
    io.try_io(Interest::Writable, |io| sys::send(io, buf))
}

pub(crate) fn try_write_vectored<T: Socket>(
    io: &Async<T>,
    bufs: &[IoSlice<'_>],
) -> io::Result<usize> {
    io.try_io(Interest::Writable, |io| {
        sys::send_vectored(io, at_most(bufs))
    })
}

fn at_most<'a, 'b>(bufs: &'a [IoSlice<'b>]) -> &'a [IoSlice<'b>] {
    &bufs[..bufs.len().min(MAX_SLICES)]
}

fn at_most_mut<'a, 'b>(bufs: &'a mut [IoSliceMut<'b>]) -> &'a mut [IoSliceMut<'b>] {
    let len = bufs.len().min(MAX_SLICES);
    &mut bufs[..len]
}

const fn drained<T: Socket>(read: usize, wanted: usize) -> bool {
    T::SHORT_READ_DRAINS && short(read, wanted)
}

/// Whether a transfer stopped because nothing was left, and not at the end of the stream.
const fn short(done: usize, wanted: usize) -> bool {
    0 < done && done < wanted
}

/// The methods of a stream that has its socket, a `$std`, in `io`.
macro_rules! stream {
    ($type:ty => $std:ty) => {
        impl crate::net::stream::Connection for $type {}
        impl crate::net::stream::Sealed for $type {
            type Socket = $std;

            #[inline]
            fn io(&self) -> &crate::fd::Async<$std> {
                &self.io
            }
        }

        impl $type {
            /// Closes one direction of the connection, or both. That it is not connected is not an error.
            ///
            /// # Errors
            ///
            /// What the system says.
            pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                crate::net::stream::shut_down(&self.io, how)
            }

            /// Two halves, to be used by two tasks. Dropping the writing one shuts down the write side;
            /// [`reunite`](crate::net::OwnedReadHalf::reunite) gives the stream back.
            ///
            /// # Counterpart
            ///
            /// The reader and the writer of an asyncio stream.
            #[must_use]
            pub fn into_split(
                self,
            ) -> (
                crate::net::OwnedReadHalf<Self>,
                crate::net::OwnedWriteHalf<Self>,
            ) {
                crate::net::split::split(self)
            }

            /// Reads what is there. 0 at the end of the stream.
            ///
            /// Goes by what the runtime knows: data that came just now may be seen only after
            /// [`readable`](Self::readable).
            ///
            /// # Errors
            ///
            /// [`WouldBlock`](std::io::ErrorKind::WouldBlock) if nothing is; what the system says; when the runtime has
            /// been shut down.
            ///
            /// # Counterpart
            ///
            /// tokio's method of this name.
            pub fn try_read(&self, buf: &mut [u8]) -> std::io::Result<usize> {
                crate::net::stream::try_read(&self.io, buf)
            }

            /// Reads what is there into several buffers, one after the other. Otherwise as
            /// [`try_read`](Self::try_read).
            ///
            /// # Errors
            ///
            /// As [`try_read`](Self::try_read).
            ///
            /// # Counterpart
            ///
            /// tokio's method of this name.
            pub fn try_read_vectored(
                &self,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::io::Result<usize> {
                crate::net::stream::try_read_vectored(&self.io, bufs)
            }

            /// Writes as much as there is room for.
            ///
            /// # Errors
            ///
            /// [`WouldBlock`](std::io::ErrorKind::WouldBlock) if there is none; what the system says; when the runtime
            /// has been shut down.
            ///
            /// # Counterpart
            ///
            /// tokio's method of this name.
            pub fn try_write(&self, buf: &[u8]) -> std::io::Result<usize> {
                crate::net::stream::try_write(&self.io, buf)
            }

            /// Writes as much of several buffers as there is room for. Otherwise as [`try_write`](Self::try_write).
            ///
            /// # Errors
            ///
            /// As [`try_write`](Self::try_write).
            ///
            /// # Counterpart
            ///
            /// tokio's method of this name.
            pub fn try_write_vectored(
                &self,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::io::Result<usize> {
                crate::net::stream::try_write_vectored(&self.io, bufs)
            }
        }

        crate::net::stream::reading!([] $type);
        crate::net::stream::reading!([] &$type);
        crate::net::stream::writing!([] $type);
        crate::net::stream::writing!([] &$type);
    };
}
pub(crate) use stream;

/// [`futures_io::AsyncRead`] for a type with the method `io`.
macro_rules! reading {
    ([$($generics:tt)*] $type:ty) => {
        impl<$($generics)*> futures_io::AsyncRead for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                crate::net::stream::poll_read(self.io(), cx, buf)
            }

            fn poll_read_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &mut [std::io::IoSliceMut<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                crate::net::stream::poll_read_vectored(self.io(), cx, bufs)
            }
        }
    };
}
pub(crate) use reading;

/// [`futures_io::AsyncWrite`] for a type with the methods `io` and `close`.
macro_rules! writing {
    ([$($generics:tt)*] $type:ty) => {
        impl<$($generics)*> futures_io::AsyncWrite for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                crate::net::stream::poll_write(self.io(), cx, buf)
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                crate::net::stream::poll_write_vectored(self.io(), cx, bufs)
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
                std::task::Poll::Ready(self.get_mut().close())
            }
        }
    };
}
pub(crate) use writing;
