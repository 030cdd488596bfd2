//! hyper's traits on our streams, and its timer on our sleep.

use crate::net::TcpStream;
use crate::time::{Sleep, sleep, sleep_until};
use hyper::rt;
use pin_project_lite::pin_project;
use socket2::SockRef;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

macro_rules! hyper_stream {
    ($stream:ty) => {
        impl rt::Read for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                mut cursor: rt::ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: only the system writes to it, which makes bytes initialised and never the reverse.
                let buffer: &mut [MaybeUninit<u8>] = unsafe { cursor.as_mut() };
                let wanted = buffer.len();
                let received = self.poll_recv(cx, wanted, |io| SockRef::from(io).recv(buffer));
                let received = ready!(received)?;
                // SAFETY: the system wrote that many bytes at the beginning.
                unsafe { cursor.advance(received) };
                Poll::Ready(Ok(()))
            }
        }

        impl rt::Write for $stream {
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

hyper_stream!(TcpStream);
#[cfg(unix)]
hyper_stream!(crate::net::UnixStream);

/// The timer for hyper's time-outs.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeistTimer;

impl HeistTimer {
    /// A timer. It works in any runtime.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

pin_project! {
    struct HyperSleep {
        #[pin]
        sleep: Sleep,
    }
}

impl Future for HyperSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

impl rt::Sleep for HyperSleep {}

impl rt::Timer for HeistTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(HyperSleep {
            sleep: sleep(duration),
        })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(HyperSleep {
            sleep: sleep_until(deadline),
        })
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<HyperSleep>() {
            Some(sleep) => sleep.project().sleep.reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}
