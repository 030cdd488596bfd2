//! Ctrl-C under `run`: SIGINT is the program's while it runs, and the system's again after that.
//!
//! ```text
//!   first ──► heard: the listener tells main       second ──► the process exits, from within the handler
//!   after the last `run` ──► what SIGINT does by default, if that is what it did before the first one
//! ```
//! The action that does this by default stays for the rest of the process, as a handler that was there before may. It does
//! nothing any more once somebody else listens: then [`signal`](crate::signal::signal) keeps what it promises.

use crate::signal::{Signal, SignalKind, listen};
use crate::sync::handlers::{AtomicBool, AtomicUsize};
use crate::sync::{Arc, Relaxed};
use signal_hook::low_level::{emulate_default_handler, exit};
use signal_hook_registry::{SigId, register, unregister};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// What a process that Ctrl-C ended exits with, as shells count: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

/// Those under way.
static RUNS: AtomicUsize = AtomicUsize::new(0);

/// Whether somebody listened who is not one.
static LISTENED: AtomicBool = AtomicBool::new(false);

/// What one `run` hears of SIGINT.
#[derive(Debug)]
pub struct Interrupt {
    heard: Arc<AtomicBool>,
    action: SigId,
}

impl Interrupt {
    /// Listens from now on, until it is dropped. The [`Signal`] tells of the first one, on the current runtime.
    ///
    /// # Errors
    ///
    /// As [`signal`](crate::signal::signal).
    pub fn listen() -> io::Result<(Self, Signal)> {
        let kind = SignalKind::interrupt();
        hand_back_after_the_last()?;
        let heard = Arc::new(AtomicBool::new(false));
        let again = Arc::clone(&heard);
        let second = move || {
            if again.swap(true, Relaxed) {
                exit(INTERRUPTED);
            }
        };
        // Before the listener: who is told finds that it was heard.
        // SAFETY: INV-1: a swap of an atomic, and `_exit`.
        let action = unsafe { register(kind.as_raw(), second) }?;
        RUNS.fetch_add(1, Relaxed);
        let interrupt = Self { heard, action };
        Ok((interrupt, listen(kind)?))
    }

    /// Stops listening. Ends the process if the signal was heard.
    pub fn end(self) {
        let heard = Arc::clone(&self.heard);
        drop(self);
        if heard.load(Relaxed) {
            std::process::exit(INTERRUPTED);
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        // In this order: what comes in between is not lost, it ends the process.
        RUNS.fetch_sub(1, Relaxed);
        unregister(self.action);
    }
}

/// Somebody listens who is not a `run`.
pub(crate) fn is_listened_to(kind: SignalKind) {
    if kind == SignalKind::interrupt() {
        LISTENED.store(true, Relaxed);
    }
}

/// Registers, once, what SIGINT does when no `run` is under way.
fn hand_back_after_the_last() -> io::Result<()> {
    let number = SignalKind::interrupt().as_raw();
    if !is_default(number) {
        return Ok(());
    }
    let action = move || {
        if RUNS.load(Relaxed) == 0 && !LISTENED.load(Relaxed) {
            let _ = emulate_default_handler(number);
        }
    };
    // SAFETY: INV-1: reads of atomics, and emulating the default is documented to be async-signal-safe.
    unsafe { register(number, action) }.map(|_| ())
}

/// Whether the process has left this signal to the system so far.
fn is_default(number: i32) -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no new action is given, and there is room for the present one.
    let failed = unsafe { libc::sigaction(number, ptr::null(), now.as_mut_ptr()) } != 0;
    // SAFETY: it was filled in.
    !failed && unsafe { now.assume_init() }.sa_sigaction == libc::SIG_DFL
}
