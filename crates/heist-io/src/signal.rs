//! Unix signals as streams.
//!
//! Each listener has a socket pair of its own: the handler, which may do next to nothing, writes a byte to one end, and
//! the listener's runtime watches the other. So there is no table to share, and runtimes do not know of each other.

use crate::fd::Async;
use crate::readiness::{Interest, Ready};
use crate::sys;
use futures_core::Stream;
use signal_hook_registry::SigId;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalKind(i32);

macro_rules! kinds {
    ($($name:ident = $signal:ident, $text:literal;)*) => {
        impl SignalKind {
            $(
                #[doc = $text]
                #[must_use]
                pub const fn $name() -> Self {
                    Self(rustix::process::Signal::$signal.as_raw())
                }
            )*
        }
    };
}

kinds! {
    alarm = ALARM, "SIGALRM: a timer of the process.";
    child = CHILD, "SIGCHLD: a child process has changed.";
    hangup = HUP, "SIGHUP: the terminal is gone; by custom, read your configuration again.";
    interrupt = INT, "SIGINT: Ctrl-C.";
    pipe = PIPE, "SIGPIPE: a write to a pipe that nobody reads. Rust programs ignore it.";
    quit = QUIT, "SIGQUIT: Ctrl-\\.";
    terminate = TERM, "SIGTERM: end, please.";
    user_defined1 = USR1, "SIGUSR1.";
    user_defined2 = USR2, "SIGUSR2.";
    window_change = WINCH, "SIGWINCH: the terminal has another size.";
}

impl SignalKind {
    /// A signal by its number.
    #[must_use]
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

/// Listens to a signal from now on. Its default action does not happen any more, for the rest of this process's life.
///
/// # Errors
///
/// For a signal that cannot be listened to (`InvalidInput`); what the system says; outside of a runtime; if the runtime
/// is gone.
///
/// # Counterpart
///
/// `loop.add_signal_handler`. Tokio's `signal::unix::signal`.
#[doc(alias = "add_signal_handler")]
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    if kind.0 <= 0 || signal_hook_registry::FORBIDDEN.contains(&kind.0) {
        let text = format!("signal {} cannot be listened to", kind.0);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let (reader, writer) = UnixStream::pair()?;
    sys::set_nonblocking(&reader)?;
    sys::set_nonblocking(&writer)?;
    let reader = Async::assume(reader, Ready::EMPTY)?;
    let id = register(kind.0, writer)?;
    Ok(Signal { reader, id })
}

/// Has a byte written whenever the signal comes.
fn register(signal: i32, writer: UnixStream) -> io::Result<SigId> {
    let handler = move || {
        // If the buffer is full, the listener has enough to read.
        let _ = sys::send(&writer, &[1]);
    };
    // SAFETY: `send` is async-signal-safe: one system call, no allocation, no lock; the registry saves errno.
    unsafe { signal_hook_registry::register(signal, handler) }
}

/// A stream of signals. Made by [`signal`].
///
/// Gives at least one item for the signals that came since the last one: signals that come faster than they are taken
/// are merged, as the system itself does. Several listeners of one signal each get it.
///
/// # Cancel safety
///
/// No signal is lost when a `recv` is dropped.
#[derive(Debug)]
pub struct Signal {
    reader: Async<UnixStream>,
    id: SigId,
}

impl Signal {
    /// The next signal. `None` only if the runtime is gone.
    pub async fn recv(&mut self) -> Option<()> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](Signal::recv) for `poll` methods.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let mut buffer = [0; 64];
        let size = buffer.len();
        let read = |mut io: &UnixStream| io.read(&mut buffer);
        let read = ready!(
            self.reader
                .poll_run(cx, Interest::Readable, read, |read| *read < size)
        );
        Poll::Ready(read.is_ok_and(|read| read > 0).then_some(()))
    }
}

impl Stream for Signal {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.poll_recv(cx)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        signal_hook_registry::unregister(self.id);
    }
}

/// Waits for the next Ctrl-C.
///
/// # Errors
///
/// As for [`signal`].
///
/// # Cancel safety
///
/// One that comes while nobody waits is not seen; keep a [`Signal`] for that.
///
/// # Counterpart
///
/// Tokio's `signal::ctrl_c`.
pub async fn ctrl_c() -> io::Result<()> {
    let mut signal = signal(SignalKind::interrupt())?;
    signal
        .recv()
        .await
        .ok_or_else(|| heist_core::error::RuntimeGone.into())
}
