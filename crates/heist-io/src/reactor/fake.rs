//! A stand-in for the system's poller under Miri, which knows epoll but no timerfd: what is ready is what a test says.
//!
//! In edge mode, as epoll is used, or such that each event has to be asked for, as on Windows.

use super::{Deadline, Key, Timeout};
use crate::readiness::{Interest, Ready};
use crate::sys::AsSource;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

pub(super) const SHORT_READ_DRAINS: bool = false;

#[derive(Debug)]
pub(super) struct Selector {
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
pub(super) struct Buffer(Vec<(Key, Ready, bool)>);

impl Selector {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self::with(false))
    }

    pub(super) fn with(oneshot: bool) -> Self {
        Self {
            oneshot,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Whatever has this key, or had it, is ready.
    pub(super) fn tell(&self, key: Key, ready: Ready) {
        *self.state().ready.entry(key.0).or_insert(Ready::EMPTY) |= ready;
        self.changed.notify_all();
    }

    pub(super) fn register(&self, io: &impl AsSource, key: Key) -> io::Result<()> {
        self.state().keys.insert(io.as_fd().as_raw_fd(), key);
        Ok(())
    }

    pub(super) fn deregister(&self, io: &impl AsSource) {
        let mut state = self.state();
        if let Some(key) = state.keys.remove(&io.as_fd().as_raw_fd()) {
            state.armed.remove(&key.0);
        }
    }

    pub(super) const fn is_oneshot(&self) -> bool {
        self.oneshot
    }

    pub(super) fn rearm(
        &self,
        _io: &impl AsSource,
        key: Key,
        interests: &[Interest],
    ) -> io::Result<()> {
        self.state().armed.insert(key.0, interests.to_vec());
        self.changed.notify_all();
        Ok(())
    }

    pub(super) fn wait(&self, buffer: &mut Buffer, timeout: Timeout) -> io::Result<()> {
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

    pub(super) fn wake(&self) {
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
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn events(&self) -> impl Iterator<Item = (Key, Ready, bool)> {
        self.0.iter().copied()
    }
}
