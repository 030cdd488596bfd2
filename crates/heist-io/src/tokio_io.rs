//! tokio's `AsyncRead` and `AsyncWrite` on the streams and their halves. Feature `tokio-io`; tokio's runtime is not involved.

use crate::net::stream::{Connection, Sealed, poll_read_uninit, poll_write, poll_write_vectored};
use crate::net::{OwnedReadHalf, OwnedWriteHalf, TcpStream};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// For a type with the method `io`.
macro_rules! reading {
    ([$($generics:tt)*] $type:ty) => {
        impl<$($generics)*> AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: bytes are only written, so none that is initialised becomes uninitialised.
                let memory = unsafe { buf.unfilled_mut() };
                let read = ready!(poll_read_uninit(self.io(), cx, memory))?;
                // SAFETY: `recv` has written the first `read` bytes.
                unsafe { buf.assume_init(read) };
                buf.advance(read);
                Poll::Ready(Ok(()))
            }
        }
    };
}

/// For a type with the methods `io` and `close`.
macro_rules! writing {
    ([$($generics:tt)*] $type:ty) => {
        impl<$($generics)*> AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                poll_write(self.io(), cx, buf)
            }

            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.get_mut().close())
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                poll_write_vectored(self.io(), cx, bufs)
            }
        }
    };
}

reading!([] TcpStream);
writing!([] TcpStream);
#[cfg(unix)]
reading!([] crate::net::UnixStream);
#[cfg(unix)]
writing!([] crate::net::UnixStream);
reading!([S: Connection] OwnedReadHalf<S>);
writing!([S: Connection] OwnedWriteHalf<S>);
