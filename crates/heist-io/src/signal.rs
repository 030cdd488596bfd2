//! Signals of the process. Unix only.
//!
//! Each listener has a pair of sockets: the signal handler writes a byte into one, the listener waits for the other in
//! the reactor of its own runtime. So listeners are independent of each other, and several runtimes of one process get
//! along. Which handler calls which writers is kept by `signal-hook-registry`, whose table is process-wide state, as is
//! what [`interrupt`](crate::interrupt) knows of SIGINT.
//!
//! # What a handler may do
//!
//! INV-1: the action of a listener makes one `send` to a non-blocking socket that it owns, and nothing else: no lock, no
//! allocation, no panic. `send` is on POSIX's list of async-signal-safe functions, and the registry saves `errno`. The
//! actions of [`interrupt`](crate::interrupt) touch atomics, and may end the process.
//!
//! When the buffer is full there is nothing to add: the listener has not yet taken a notification.

use crate::fd::{Async, Interest};
use futures_core::Stream;
use rustix::net::SendFlags;
use signal_hook_registry::{FORBIDDEN, SigId, register, unregister};
use std::ffi::c_int;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A signal, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalKind(c_int);

impl SignalKind {
    /// The signal of this number on this system.
    #[must_use]
    pub const fn from_raw(number: c_int) -> Self {
        Self(number)
    }

    /// Its number on this system.
    #[must_use]
    pub const fn as_raw(self) -> c_int {
        self.0
    }

    /// SIGALRM: a timer of the system.
    #[must_use]
    pub const fn alarm() -> Self {
        Self(rustix::process::Signal::ALARM.as_raw())
    }

    /// SIGCHLD: a child process stopped or ended.
    #[must_use]
    pub const fn child() -> Self {
        Self(rustix::process::Signal::CHILD.as_raw())
    }

    /// SIGHUP: the terminal is gone; by custom, read the configuration again.
    #[must_use]
    pub const fn hangup() -> Self {
        Self(rustix::process::Signal::HUP.as_raw())
    }

    /// SIGINT: Ctrl-C.
    #[must_use]
    pub const fn interrupt() -> Self {
        Self(rustix::process::Signal::INT.as_raw())
    }

    /// SIGIO: a descriptor that asked for it is ready.
    #[must_use]
    pub const fn io() -> Self {
        Self(rustix::process::Signal::IO.as_raw())
    }

    /// SIGPIPE: a write to a pipe that nobody reads.
    #[must_use]
    pub const fn pipe() -> Self {
        Self(rustix::process::Signal::PIPE.as_raw())
    }

    /// SIGQUIT: Ctrl-\\.
    #[must_use]
    pub const fn quit() -> Self {
        Self(rustix::process::Signal::QUIT.as_raw())
    }

    /// SIGTERM: asked to end.
    #[must_use]
    pub const fn terminate() -> Self {
        Self(rustix::process::Signal::TERM.as_raw())
    }

    /// SIGUSR1.
    #[must_use]
    pub const fn user_defined1() -> Self {
        Self(rustix::process::Signal::USR1.as_raw())
    }

    /// SIGUSR2.
    #[must_use]
    pub const fn user_defined2() -> Self {
        Self(rustix::process::Signal::USR2.as_raw())
    }

    /// SIGWINCH: the terminal has another size.
    #[must_use]
    pub const fn window_change() -> Self {
        Self(rustix::process::Signal::WINCH.as_raw())
    }
}

/// Listens to a signal, from this call on.
///
/// The first listener of a signal replaces what the signal does by default, for the rest of the process: with a
/// listener for SIGINT, Ctrl-C ends nothing any more, not even after the listener was dropped. Inside of `run` it cancels main
/// all the same.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for signals that cannot be listened to (SIGKILL, SIGSTOP, SIGILL,
/// SIGFPE, SIGSEGV); what the system says; outside of any runtime.
///
/// # Examples
///
/// ```no_run
/// # use heist_io as heist;
/// # async fn run() -> std::io::Result<()> {
/// use heist::signal::{SignalKind, signal};
///
/// let mut hangups = signal(SignalKind::hangup())?;
/// while hangups.recv().await.is_some() {
///     println!("reading the configuration again");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// `loop.add_signal_handler`. Any number of listeners, none of which runs in the main thread only.
#[doc(alias = "add_signal_handler")]
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    let signal = listen(kind)?;
    crate::interrupt::is_listened_to(kind);
    Ok(signal)
}

pub(crate) fn listen(kind: SignalKind) -> io::Result<Signal> {
    if kind.0 <= 0 || FORBIDDEN.contains(&kind.0) {
        let message = format!(
            "signal {} cannot be listened to; choose another one",
            kind.0
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let (receiver, sender) = UnixStream::pair()?;
    sender.set_nonblocking(true)?;
    let receiver = Async::new(receiver)?;
    // SAFETY: INV-1.
    let id = unsafe { register(kind.0, move || notify(&sender)) }?;
    Ok(Signal { receiver, id, kind })
}

/// Runs in the signal handler (INV-1).
fn notify(sender: &UnixStream) {
    let _ = rustix::net::send(sender, &[1], SendFlags::empty());
}

/// Waits for Ctrl-C, which is SIGINT. It is listened to from the first poll on; see [`signal`] for what that means.
///
/// # Errors
///
/// As [`signal`]; when the runtime has been shut down.
///
/// # Cancel safety
///
/// A Ctrl-C that comes after it was dropped, and before it is called again, is lost. Make a [`Signal`] to lose none.
///
/// # Counterpart
///
/// The `KeyboardInterrupt` of `asyncio.run`.
#[doc(alias = "KeyboardInterrupt")]
pub async fn ctrl_c() -> io::Result<()> {
    signal(SignalKind::interrupt())?.take().await
}

/// A listener to one signal. Made by [`signal`]. Also a [`Stream`].
///
/// Every listener gets its own notification. Signals that come before the listener looks are one notification: as many
/// as it takes to know that there was at least one since the last. The system itself does not count them either.
///
/// Dropping it ends the listening, and leaves the signal without its default effect.
#[doc(alias = "add_signal_handler")]
pub struct Signal {
    receiver: Async<UnixStream>,
    id: SigId,
    kind: SignalKind,
}

impl Signal {
    /// Which signal it is.
    #[must_use]
    pub fn kind(&self) -> SignalKind {
        self.kind
    }

    /// Waits for the signal. `None` when the runtime has been shut down.
    ///
    /// # Cancel safety
    ///
    /// Safe: a signal that was not taken is there for the next call.
    pub async fn recv(&mut self) -> Option<()> {
        self.take().await.ok()
    }

    /// Ready when the signal came. `None` when the runtime has been shut down.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.poll_take(cx).map(Result::ok)
    }

    async fn take(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_take(cx)).await
    }

    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.receiver
            .poll_run(cx, Interest::Readable, drain, |()| true)
    }
}

/// Takes all that is there; it is one notification.
fn drain(mut receiver: &UnixStream) -> io::Result<()> {
    let mut bytes = [0; 256];
    let mut found = false;
    loop {
        match receiver.read(&mut bytes) {
            Ok(read) if read == bytes.len() => found = true,
            Ok(read) if read > 0 => return Ok(()),
            // The sender lives as long as the registration does, which is longer than this.
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && found => return Ok(()),
            Err(error) => return Err(error),
        }
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
        // Also drops the sender, here and not in a handler.
        unregister(self.id);
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
