//! tokio's traits on our streams, for libraries that ask for them. They need no runtime of tokio's.

use crate::net::TcpStream;
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

macro_rules! tokio_stream {
    ($stream:ty) => {
        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: only the system writes to it, which makes bytes initialised and never the reverse.
                let unfilled: &mut [MaybeUninit<u8>] = unsafe { buffer.unfilled_mut() };
                let wanted = unfilled.len();
                let received = self.poll_recv(cx, wanted, |io| SockRef::from(io).recv(unfilled));
                let received = ready!(received)?;
                // SAFETY: the system wrote that many bytes at the beginning.
                unsafe { buffer.assume_init(received) };
                buffer.advance(received);
                Poll::Ready(Ok(()))
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                futures_io::AsyncWrite::poll_write(self, cx, data)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                futures_io::AsyncWrite::poll_close(self, cx)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                futures_io::AsyncWrite::poll_write_vectored(self, cx, data)
            }
        }
    };
}

tokio_stream!(TcpStream);
#[cfg(unix)]
tokio_stream!(crate::net::UnixStream);
