//! epoll, without the detour through `Poller::wait`.
//!
//! `polling` makes the epoll instance; registering and waiting go to it directly, through `rustix`, for three reasons:
//!
//! * `Poller::wait` makes five system calls, `epoll_wait` is one.
//! * `polling` cannot ask for `EPOLLRDHUP`. Without it an end of stream that comes in the same event as the last data
//!   would be lost after a short read, and each read would need a second one that finds nothing.
//! * In edge mode nothing has to be re-armed, so a source costs one `epoll_ctl` in its life besides the one that ends it.
//!
//! # Waking
//!
//! An eventfd in edge mode that is never read: each write is a new edge. Should its counter ever be full, a read
//! empties it.
//!
//! # Timeouts
//!
//! A timerfd in edge mode, never read. It is set only when the sleeper has to wake up earlier than it is set for, so
//! timers that are armed and cancelled over and over cost no system call here; when it rings too early the turn finds
//! nothing due and sets it anew. Compared with the timeouts of `epoll_pwait2`: it has no slack (the kernel grants itself
//! 50 µs or 0.1 % of the timeout, whichever is more, whatever `PR_SET_TIMERSLACK` says about the second), and it works
//! on every kernel that is still in use. `epoll_wait` alone counts in ms.

use crate::reactor::{Deadline, Key, Timeout};
use crate::readiness::{Interest, Ready};
use crate::sync::Mutex;
use crate::sys::AsSource;
use polling::Poller;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

/// The system calls that may fail at run time.
#[cfg(not(test))]
mod calls {
    pub(super) use rustix::event::epoll::{add, wait};
    pub(super) use rustix::time::timerfd_settime;
}

#[cfg(test)]
#[path = "faults.rs"]
pub(crate) mod calls;

/// With EPOLLRDHUP, yes: what comes after the last byte is in the word already, or will be an event.
pub(crate) const SHORT_READ_DRAINS: bool = true;

/// How many events one turn takes.
const EVENTS: usize = 256;

/// `usize::MAX` is `polling`'s own key.
const WAKE: u64 = Key(usize::MAX - 1).0 as u64;
const TIMER: u64 = Key(usize::MAX - 2).0 as u64;

/// What the timerfd is set for, when it is not set.
const UNSET: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Selector {
    poller: Poller,
    wake: OwnedFd,
    timer: OwnedFd,
    /// When the timerfd rings, in the driver's ns.
    rings_at: Mutex<u64>,
    /// The process that made it. A child that is forked shares the epoll instance, and with it every registration.
    owner: Pid,
}

/// Data and flags of each event. (The kernel's own struct has a pointer in it, which would keep it on one thread.)
pub(crate) struct Buffer(Vec<(u64, EventFlags)>);

impl Selector {
    pub(crate) fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let flags = EventFlags::IN | EventFlags::ET;
        calls::add(&poller, &wake, EventData::new_u64(WAKE), flags)?;
        calls::add(&poller, &timer, EventData::new_u64(TIMER), flags)?;
        Ok(Self {
            poller,
            wake,
            timer,
            rings_at: Mutex::new(UNSET),
            owner: getpid(),
        })
    }

    pub(crate) fn register(&self, io: &impl AsSource, key: Key) -> io::Result<()> {
        let flags =
            EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::PRI | EventFlags::ET;
        Ok(calls::add(
            &self.poller,
            io.as_fd(),
            EventData::new_u64(key.0 as u64),
            flags,
        )?)
    }

    pub(crate) fn deregister(&self, io: &impl AsSource) {
        if getpid() != self.owner {
            // The child drops what it has inherited; the parent still waits for it.
            return;
        }
        // EBADF, ENOENT: it was closed behind our back, which took it out of the poller.
        let _ = epoll::delete(&self.poller, io.as_fd());
    }

    pub(crate) const fn is_oneshot(&self) -> bool {
        false
    }

    pub(crate) fn rearm(
        &self,
        _io: &impl AsSource,
        _key: Key,
        _interests: &[Interest],
    ) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn wait(&self, buffer: &mut Buffer, timeout: Timeout) -> io::Result<()> {
        buffer.0.clear();
        let timeout = match timeout {
            Timeout::Zero => Some(timespec(0)),
            Timeout::Until(None) => None,
            Timeout::Until(Some(deadline)) if deadline.at <= deadline.now => Some(timespec(0)),
            Timeout::Until(Some(deadline)) => {
                // Somebody may have closed the timerfd: the other timeout errs by more, which is better than none.
                let rings = self.set_timer(deadline).is_ok();
                (!rings).then(|| timespec(deadline.at - deadline.now))
            }
        };
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        match calls::wait(&self.poller, &mut events, timeout.as_ref()) {
            Ok((events, _)) => {
                buffer
                    .0
                    .extend(events.iter().map(|event| (event.data.u64(), event.flags)));
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if buffer.0.iter().any(|(data, _)| *data == TIMER) {
            *self.rings_at.lock() = UNSET;
        }
        Ok(())
    }

    /// Sees to it that the timerfd rings at the deadline or before.
    fn set_timer(&self, deadline: Deadline) -> io::Result<()> {
        let mut rings_at = self.rings_at.lock();
        // One that has rung but was not yet seen will end the wait at once.
        if *rings_at <= deadline.at {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: timespec(0),
            it_value: timespec(deadline.at - deadline.now),
        };
        calls::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        *rings_at = deadline.at;
        Ok(())
    }

    pub(crate) fn wake(&self) {
        let one = 1_u64.to_ne_bytes();
        if rustix::io::write(&self.wake, &one) == Err(Errno::AGAIN) {
            // The counter is full. Nobody else reads it, and a write after this one is an edge.
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
            let _ = rustix::io::write(&self.wake, &one);
        }
    }
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Key, what is ready, and whether every waiter has to look.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Key, Ready, bool)> {
        // The key was a `usize`.
        self.0
            .iter()
            .map(|(data, flags)| (Key(*data as usize), ready(*flags), false))
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("events", &self.0.len())
            .finish()
    }
}

const fn timespec(nanos: u64) -> Timespec {
    Timespec {
        tv_sec: (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    }
}

fn ready(flags: EventFlags) -> Ready {
    let mut ready = Ready::EMPTY;
    let table = [
        (EventFlags::IN, Ready::READABLE),
        (EventFlags::OUT, Ready::WRITABLE),
        (EventFlags::PRI, Ready::READABLE | Ready::PRIORITY),
        (EventFlags::RDHUP, Ready::READABLE | Ready::READ_CLOSED),
        (
            EventFlags::HUP,
            Ready::READABLE | Ready::WRITABLE | Ready::READ_CLOSED | Ready::WRITE_CLOSED,
        ),
        (
            EventFlags::ERR,
            Ready::READABLE | Ready::WRITABLE | Ready::ERROR,
        ),
    ];
    for (flag, means) in table {
        if flags.contains(flag) {
            ready |= means;
        }
    }
    ready
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counter of the eventfd is full, and a wake still ends a wait.
    #[test]
    fn a_full_counter_still_wakes() {
        let selector = Selector::new().unwrap();
        rustix::io::write(&selector.wake, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        let mut buffer = Buffer::new();
        selector.wait(&mut buffer, Timeout::Zero).unwrap();
        for _ in 0..3 {
            selector.wake();
            selector
                .wait(
                    &mut buffer,
                    Timeout::Until(Some(Deadline {
                        at: 5_000_000_000,
                        now: 0,
                    })),
                )
                .unwrap();
            assert_eq!(buffer.0.len(), 1);
            assert_eq!(buffer.0[0].0, WAKE);
        }
    }

    /// `polling` registers its own two fds under a key that is none of ours, as the plain value.
    #[test]
    fn the_keys_of_polling_are_the_data_of_epoll() {
        let selector = Selector::new().unwrap();
        selector.poller.notify().unwrap();
        let mut buffer = Buffer::new();
        selector.wait(&mut buffer, Timeout::Zero).unwrap();
        assert_eq!(buffer.0.len(), 1);
        assert_eq!(buffer.0[0].0, usize::MAX as u64);
        assert!(![WAKE, TIMER].contains(&(usize::MAX as u64)));
    }

    #[test]
    fn a_later_deadline_leaves_the_timer_alone() {
        let selector = Selector::new().unwrap();
        selector.set_timer(Deadline { at: 1_000, now: 0 }).unwrap();
        selector.set_timer(Deadline { at: 2_000, now: 0 }).unwrap();
        assert_eq!(*selector.rings_at.lock(), 1_000);
        let mut buffer = Buffer::new();
        selector
            .wait(
                &mut buffer,
                Timeout::Until(Some(Deadline { at: 2_000, now: 0 })),
            )
            .unwrap();
        assert_eq!(*selector.rings_at.lock(), UNSET);
    }
}
