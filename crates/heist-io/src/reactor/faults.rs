//! The system calls that may fail at run time, and do where a test says so.

use rustix::buffer::Buffer;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::{Errno, Result};
use rustix::time::{Itimerspec, TimerfdTimerFlags};
use std::cell::Cell;
use std::os::fd::AsFd;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Add,
    Wait,
    SetTimer,
}

thread_local! {
    static FAILS: Cell<Option<(Call, Errno)>> = const { Cell::new(None) };
    static TRIES: Cell<usize> = const { Cell::new(0) };
}

/// Runs `f`, during which this call fails on this thread. Also says how often it did.
pub(crate) fn failing<R>(call: Call, error: Errno, f: impl FnOnce() -> R) -> (R, usize) {
    FAILS.set(Some((call, error)));
    let result = f();
    FAILS.set(None);
    (result, TRIES.take())
}

fn check(call: Call) -> Result<()> {
    match FAILS.get() {
        Some((fails, error)) if fails == call => {
            TRIES.set(TRIES.get() + 1);
            Err(error)
        }
        _ => Ok(()),
    }
}

pub(super) fn add(
    epoll: impl AsFd,
    source: impl AsFd,
    data: EventData,
    flags: EventFlags,
) -> Result<()> {
    check(Call::Add)?;
    epoll::add(epoll, source, data, flags)
}

pub(super) fn wait<B: Buffer<Event>>(
    epoll: impl AsFd,
    events: B,
    timeout: Option<&Timespec>,
) -> Result<B::Output> {
    check(Call::Wait)?;
    epoll::wait(epoll, events, timeout)
}

pub(super) fn timerfd_settime(
    timer: impl AsFd,
    flags: TimerfdTimerFlags,
    value: &Itimerspec,
) -> Result<Itimerspec> {
    check(Call::SetTimer)?;
    rustix::time::timerfd_settime(timer, flags, value)
}
