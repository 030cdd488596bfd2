//! tokio's `AsyncRead` and `AsyncWrite` on the streams. Feature `tokio-io`; tokio's runtime is not involved.

use crate::net::TcpStream;
use crate::net::stream::{poll_read_uninit, poll_write, poll_write_vectored};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// For a type that has its socket in `io` and a method `shutdown`.
macro_rules! tokio_io {
    ($type:ty) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: bytes are only written, so none that is initialised becomes uninitialised.
                let memory = unsafe { buf.unfilled_mut() };
                let read = ready!(poll_read_uninit(&self.io, cx, memory))?;
                // SAFETY: `recv` has written the first `read` bytes.
                unsafe { buf.assume_init(read) };
                buf.advance(read);
                Poll::Ready(Ok(()))
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                poll_write(&self.io, cx, buf)
            }

            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.shutdown(Shutdown::Write))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                poll_write_vectored(&self.io, cx, bufs)
            }
        }
    };
}

tokio_io!(TcpStream);
#[cfg(unix)]
tokio_io!(crate::net::UnixStream);
