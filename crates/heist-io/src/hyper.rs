//! hyper's traits: the streams themselves as its I/O, and our clock as its timer. Feature `hyper`.
//!
//! The streams implement hyper's traits directly, without a wrapper and without a copy: hyper's buffers are memory that
//! need not be initialised, and `recv` fills it.

use crate::net::TcpStream;
use crate::net::stream::{Sealed, poll_read_uninit, poll_write, poll_write_vectored};
use crate::time::{Sleep, sleep, sleep_until};
use ::hyper::rt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// The timers of the current runtime, for hyper's timeouts.
///
/// # Panics
///
/// The sleeps that it makes panic when they are polled outside of a runtime.
///
/// # Examples
///
/// ```
/// # use heist_io as heist;
/// use hyper::rt::Timer;
///
/// let timer = heist::hyper::HeistTimer::new();
/// // For a `hyper::server::conn::http1::Builder`: `builder.timer(timer)`.
/// assert!(timer.now() <= std::time::Instant::now());
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HeistTimer;

impl HeistTimer {
    /// A timer. It has no state.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl rt::Sleep for Sleep {}

impl rt::Timer for HeistTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(sleep_until(deadline))
    }

    fn now(&self) -> Instant {
        crate::context::now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(ours) => ours.reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// For a stream.
macro_rules! hyper_io {
    ($type:ty) => {
        impl rt::Read for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                mut buf: rt::ReadBufCursor<'_>,
            ) -> Poll<io::Result<()>> {
                // SAFETY: bytes are only written, so none that is initialised becomes uninitialised.
                let memory = unsafe { buf.as_mut() };
                let read = ready!(poll_read_uninit(self.io(), cx, memory))?;
                // SAFETY: `recv` has written the first `read` bytes.
                unsafe { buf.advance(read) };
                Poll::Ready(Ok(()))
            }
        }

        impl rt::Write for $type {
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
                Poll::Ready(self.close())
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

hyper_io!(TcpStream);
#[cfg(unix)]
hyper_io!(crate::net::UnixStream);
