//! Every other system, through `polling`: kqueue in edge mode, and a mode where each event has to be asked for.
//!
//! In that mode (Windows) an event takes back what its source was asked for, in both directions. So it wakes every
//! waiter of the source, and each that still waits asks anew.

use crate::reactor::{Deadline, Key, Timeout};
use crate::readiness::{Interest, Ready};
use crate::sys::{self, AsSource};
use polling::{Event, Events, PollMode, Poller};
use std::io;
use std::time::Duration;

/// No: the end of a stream may be in the event that brought its last data, and `polling` does not say so.
pub(crate) const SHORT_READ_DRAINS: bool = false;

#[derive(Debug)]
pub(crate) struct Selector {
    poller: Poller,
}

pub(crate) struct Buffer {
    events: Events,
    oneshot: bool,
}

impl Selector {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
        })
    }

    pub(crate) fn register(&self, io: &impl AsSource, key: Key) -> io::Result<()> {
        let (event, mode) = match self.is_oneshot() {
            true => (Event::none(key.0), PollMode::Oneshot),
            false => (Event::all(key.0), PollMode::Edge),
        };
        // SAFETY: the `Registration` that called this deletes the source before its I/O object is dropped.
        unsafe { self.poller.add_with_mode(sys::raw(io), event, mode) }
    }

    pub(crate) fn deregister(&self, io: &impl AsSource) {
        // It may have been closed behind our back, which took it out of the poller.
        let _ = self.poller.delete(sys::borrow(io));
    }

    pub(crate) fn is_oneshot(&self) -> bool {
        !self.poller.supports_edge()
    }

    pub(crate) fn rearm(
        &self,
        io: &impl AsSource,
        key: Key,
        interests: &[Interest],
    ) -> io::Result<()> {
        let readable = interests.contains(&Interest::Readable);
        let writable = interests.contains(&Interest::Writable);
        self.poller.modify_with_mode(
            sys::borrow(io),
            Event::new(key.0, readable, writable),
            PollMode::Oneshot,
        )
    }

    pub(crate) fn wait(&self, buffer: &mut Buffer, timeout: Timeout) -> io::Result<()> {
        buffer.events.clear();
        buffer.oneshot = self.is_oneshot();
        let timeout = match timeout {
            Timeout::Zero => Some(Duration::ZERO),
            Timeout::Until(until) => {
                until.map(|Deadline { at, now }| Duration::from_nanos(at.saturating_sub(now)))
            }
        };
        match self.poller.wait(&mut buffer.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) fn wake(&self) {
        let _ = self.poller.notify();
    }
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self {
            events: Events::new(),
            oneshot: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Key, what is ready, and whether every waiter has to look.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Key, Ready, bool)> {
        self.events.iter().map(|event| {
            let mut ready = Ready::EMPTY;
            let table = [
                (event.readable, Ready::READABLE),
                (event.writable, Ready::WRITABLE),
                (event.is_priority(), Ready::READABLE | Ready::PRIORITY),
                (
                    event.is_interrupt(),
                    Ready::READABLE | Ready::WRITABLE | Ready::READ_CLOSED | Ready::WRITE_CLOSED,
                ),
                (
                    event.is_err() == Some(true),
                    Ready::READABLE | Ready::WRITABLE | Ready::ERROR,
                ),
            ];
            for (set, means) in table {
                if set {
                    ready |= means;
                }
            }
            (Key(event.key), ready, self.oneshot)
        })
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("events", &self.events.len())
            .finish()
    }
}
