//! A stand-in for the system's poller under Miri, which knows epoll but no timerfd: what is ready is what a test says.
//!
//! In edge mode, as epoll is used, or such that each event has to be asked for, as on Windows.

use crate::reactor::{Deadline, Key, Timeout};
use crate::readiness::{Interest, Ready};
use crate::sys::AsSource;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

thread_local! {
    /// Whether each event has to be asked for, in what is made from now on.
    pub(crate) static ONESHOT: Cell<bool> = const { Cell::new(false) };
}

pub(crate) const SHORT_READ_DRAINS: bool = false;

#[derive(Debug)]
pub(crate) struct Selector {
    oneshot: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<i32, Key>,
    /// What each source was asked for, where each event has to be.
    armed: BTreeMap<usize, Vec<Interest>>,
    /// What is ready and was not taken yet.
    ready: BTreeMap<usize, Ready>,
    woken: bool,
}

#[derive(Debug)]
pub(crate) struct Buffer(Vec<(Key, Ready, bool)>);

impl Selector {
    #[expect(clippy::unnecessary_wraps, reason = "as the others")]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            oneshot: ONESHOT.get(),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Whatever has this key, or had it, is ready.
    pub(crate) fn tell(&self, key: Key, ready: Ready) {
        *self.state().ready.entry(key.0).or_insert(Ready::EMPTY) |= ready;
        self.changed.notify_all();
    }

    pub(crate) fn register(&self, io: &impl AsSource, key: Key) -> io::Result<()> {
        self.state().keys.insert(io.as_fd().as_raw_fd(), key);
        Ok(())
    }

    pub(crate) fn deregister(&self, io: &impl AsSource) {
        let mut state = self.state();
        if let Some(key) = state.keys.remove(&io.as_fd().as_raw_fd()) {
            state.armed.remove(&key.0);
        }
    }

    pub(crate) const fn is_oneshot(&self) -> bool {
        self.oneshot
    }

    pub(crate) fn rearm(
        &self,
        _io: &impl AsSource,
        key: Key,
        interests: &[Interest],
    ) -> io::Result<()> {
        self.state().armed.insert(key.0, interests.to_vec());
        self.changed.notify_all();
        Ok(())
    }

    pub(crate) fn wait(&self, buffer: &mut Buffer, timeout: Timeout) -> io::Result<()> {
        let mut state = self.state();
        loop {
            buffer.0 = state.take(self.oneshot);
            if std::mem::take(&mut state.woken) || !buffer.is_empty() {
                return Ok(());
            }
            state = match timeout {
                Timeout::Zero => return Ok(()),
                Timeout::Until(None) => self.changed.wait(state).unwrap(),
                Timeout::Until(Some(Deadline { at, now })) => {
                    let time = Duration::from_nanos(at.saturating_sub(now));
                    let (state, waited) = self.changed.wait_timeout(state, time).unwrap();
                    if waited.timed_out() {
                        return Ok(());
                    }
                    state
                }
            };
        }
    }

    pub(crate) fn wake(&self) {
        self.state().woken = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    /// What is to be told of what is ready, which is all of it in edge mode.
    fn take(&mut self, oneshot: bool) -> Vec<(Key, Ready, bool)> {
        let armed = &mut self.armed;
        let mut told = Vec::new();
        self.ready.retain(|&key, &mut ready| {
            let is_asked = |asked: &Vec<_>| asked.iter().any(|&interest| ready.allows(interest));
            let is_told = !oneshot || armed.get(&key).is_some_and(is_asked);
            if is_told {
                armed.remove(&key);
                told.push((Key(key), ready, oneshot));
            }
            !is_told
        });
        told
    }
}

impl Buffer {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = (Key, Ready, bool)> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod races;
