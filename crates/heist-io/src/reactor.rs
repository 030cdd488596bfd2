//! The poller, the table of sources, and one turn.
//!
//! A source is registered once, for both directions and in edge mode where the system has one; the kernel is given a
//! *key*, never a pointer: the index of the source in the table, and the generation of that registration. An event
//! whose generation is not the one in the table is late (its source was dropped, maybe its place and its fd are in use
//! again) and is ignored.
//!
//! The table is locked to register, to deregister, and once per turn that brought events. Operations on sources do not
//! see it: they look at the word of their own source.
//!
//! # A poller that fails
//!
//! It does so for ever: somebody has closed its descriptor, or a filter refuses the system call. The first failure is
//! reported. A sleep is a nap from then on, after which the timers and the queues of the scheduler get their turn.

use crate::park::Park;
use crate::readiness::{Interest, Ready};
use crate::source::Source;
use crate::sync::selector::{self, Buffer, Selector};
use crate::sync::{Arc, Mutex};
use crate::sys::{self, AsSource};
use crate::wake::WakeList;
use heist_core::context::try_current;
use heist_core::error::{ExceptionContext, ExceptionKind, RuntimeGone};
use slab::Slab;
use std::io;
use std::thread;
use std::time::Duration;

/// Until when a turn may sleep, in the driver's ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: u64,
    pub(crate) now: u64,
}

/// How a turn waits in the poller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timeout {
    Zero,
    Until(Option<Deadline>),
}

impl Timeout {
    /// Instead of a wait that has failed: what would sleep does not spin. Wakes are late by so much, timers are not.
    #[cold]
    fn nap(self) {
        const LONGEST: Duration = Duration::from_millis(10);
        match self {
            Self::Zero => {}
            Self::Until(None) => thread::sleep(LONGEST),
            Self::Until(Some(Deadline { at, now })) => {
                thread::sleep(LONGEST.min(Duration::from_nanos(at.saturating_sub(now))));
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Reactor {
    pub(crate) selector: Selector,
    table: Mutex<Table>,
    park: Park,
    /// Used by the one thread that makes a turn.
    turn: Mutex<Turn>,
}

#[derive(Debug)]
struct Table {
    sources: Slab<Registered>,
    /// By descriptor: one more than the index of who registered it last, or 0. A descriptor that is closed behind our back
    /// takes its registration along, and the next one with its number must keep its own.
    owners: Vec<u32>,
    generation: usize,
    closed: bool,
}

#[derive(Debug)]
struct Registered {
    generation: usize,
    source: Arc<Source>,
}

/// Memory that is kept from turn to turn.
#[derive(Debug)]
struct Turn {
    buffer: Buffer,
    wakers: WakeList,
    /// Somebody was told that the poller fails.
    told: bool,
}

/// Whether a read that got less than it asked for has emptied the source: see [`selector`].
pub(crate) const SHORT_READ_DRAINS: bool = selector::SHORT_READ_DRAINS;

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            selector: Selector::new()?,
            table: Mutex::new(Table {
                sources: Slab::new(),
                owners: Vec::new(),
                generation: 0,
                closed: false,
            }),
            park: Park::new(),
            turn: Mutex::new(Turn {
                buffer: Buffer::new(),
                wakers: WakeList::new(),
                told: false,
            }),
        })
    }

    /// Registers `io`, which stays registered until [`deregister`](Self::deregister).
    pub(crate) fn register(&self, io: &impl AsSource, source: &Arc<Source>) -> io::Result<Key> {
        let mut table = self.table.lock();
        let key = table.insert(source)?;
        // Under the lock, as in `deregister`.
        let registered = self.selector.register(io, key);
        let removed = match registered {
            Ok(()) => {
                table.own(sys::number(io), key);
                None
            }
            Err(_) => table.sources.try_remove(key.index()),
        };
        drop(table);
        drop(removed);
        registered.map(|()| key)
    }

    /// Takes `io` out of the poller and the table. That it is closed already does not matter.
    pub(crate) fn deregister(&self, io: &impl AsSource, key: Key) {
        let mut table = self.table.lock();
        let removed = table.sources.try_remove(key.index());
        // Under the lock: the number may be in use again, and be registered by another thread.
        if table.disown(sys::number(io), key) {
            self.selector.deregister(io);
        }
        drop(table);
        // Its wakers are dropped without the lock.
        drop(removed);
    }

    /// Whether a wait has to re-arm its source.
    pub(crate) fn is_oneshot(&self) -> bool {
        self.selector.is_oneshot()
    }

    /// Asks for the next event of these directions.
    pub(crate) fn rearm(
        &self,
        io: &impl AsSource,
        key: Key,
        interests: &[Interest],
    ) -> io::Result<()> {
        self.selector.rearm(io, key, interests)
    }

    /// Takes what is ready. Returns the number of wakers woken.
    pub(crate) fn poll(&self) -> usize {
        self.turn(Timeout::Zero, || {})
    }

    /// Sleeps, after [`begin_sleep`](Self::begin_sleep), then takes what is ready. Calls `awake` in between.
    pub(crate) fn wait(&self, until: Option<Deadline>, awake: impl FnOnce()) -> usize {
        self.turn(Timeout::Until(until), || {
            awake();
            self.park.end_sleep();
        })
    }

    fn turn(&self, timeout: Timeout, awake: impl FnOnce()) -> usize {
        let mut turn = self.turn.lock();
        let waited = self.selector.wait(&mut turn.buffer, timeout);
        if let Err(error) = waited {
            timeout.nap();
            awake();
            let told = std::mem::replace(&mut turn.told, true);
            drop(turn);
            if !told {
                tell(&error);
            }
            return 0;
        }
        awake();
        if turn.buffer.is_empty() {
            return 0;
        }
        let mut wakers = std::mem::take(&mut turn.wakers);
        self.table.lock().dispatch(&turn.buffer, &mut wakers);
        drop(turn);
        let woken = wakers.wake_all();
        self.turn.lock().wakers = wakers;
        woken
    }

    /// Announces a sleep. `false` if a notification came first; it is taken.
    pub(crate) fn begin_sleep(&self) -> bool {
        self.park.begin_sleep()
    }

    /// Makes the sleeper return, or else the next one not sleep.
    pub(crate) fn unpark(&self) {
        if self.park.unpark() {
            self.selector.wake();
        }
    }

    /// Lets every wait fail, now and later.
    pub(crate) fn shut_down(&self) {
        let mut wakers = WakeList::new();
        {
            let mut table = self.table.lock();
            table.closed = true;
            for (_, registered) in &table.sources {
                registered.source.on_event(Ready::GONE, true, &mut wakers);
            }
        }
        wakers.wake_all();
    }
}

impl Table {
    fn insert(&mut self, source: &Arc<Source>) -> io::Result<Key> {
        if self.closed {
            return Err(RuntimeGone.into());
        }
        let index = self.sources.vacant_key();
        if index >= Key::MAX_INDEX {
            return Err(io::Error::other("too many sources in one reactor"));
        }
        self.generation = self.generation.wrapping_add(1);
        let key = Key::new(index, self.generation);
        self.sources.insert(Registered {
            generation: key.generation(),
            source: Arc::clone(source),
        });
        Ok(key)
    }

    /// The poller has taken this one, so that whoever was registered under the number before has been closed.
    fn own(&mut self, number: usize, key: Key) {
        if number >= self.owners.len() {
            self.owners.resize(number + 1, 0);
        }
        self.owners[number] = key.index() as u32 + 1;
    }

    /// Whether it is this one that is registered under the number, which nobody is from now on.
    fn disown(&mut self, number: usize, key: Key) -> bool {
        let owner = self.owners.get_mut(number);
        owner.is_some_and(|owner| {
            let own = *owner == key.index() as u32 + 1;
            if own {
                *owner = 0;
            }
            own
        })
    }

    fn dispatch(&self, buffer: &Buffer, wakers: &mut WakeList) {
        for (key, ready, everyone) in buffer.events() {
            if let Some(registered) = self.sources.get(key.index()) {
                if registered.generation == key.generation() {
                    registered.source.on_event(ready, everyone, wakers);
                }
            }
        }
    }
}

/// Says that the poller fails, to the handler of the runtime that this thread works for.
#[cold]
fn tell(error: &io::Error) {
    let message = format!("the poller fails, and nobody is told any more what is ready: {error}");
    let exception = ExceptionContext::new(ExceptionKind::Runtime, &message);
    match try_current() {
        Some(runtime) => runtime.report(&exception),
        None => exception.print(),
    }
}

/// What the kernel knows of a source: index and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) usize);

impl Key {
    /// A third of the bits, or half of them, for the generation: 32 of 64, 12 of 32.
    const INDEX_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };
    /// Indices from here on are not handed out; with every bit set they are keys that no source has.
    const MAX_INDEX: usize = (1 << Self::INDEX_BITS) - 16;

    fn new(index: usize, generation: usize) -> Self {
        Self((generation << Self::INDEX_BITS) | index)
    }

    fn index(self) -> usize {
        self.0 & ((1 << Self::INDEX_BITS) - 1)
    }

    fn generation(self) -> usize {
        self.0 >> Self::INDEX_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Reactor {
        /// Places in the table that are taken, and for how many there is memory.
        pub(crate) fn places(&self) -> (usize, usize) {
            let table = self.table.lock();
            (table.sources.len(), table.sources.capacity())
        }
    }

    #[test]
    fn keys_keep_index_and_generation() {
        for index in [0, 1, 77, Key::MAX_INDEX - 1] {
            for generation in [0, 1, 12, (1 << (usize::BITS - Key::INDEX_BITS)) - 1] {
                let key = Key::new(index, generation);
                assert_eq!((key.index(), key.generation()), (index, generation));
                assert_ne!(key.0, usize::MAX, "that one is `polling`'s own");
            }
        }
    }

    #[test]
    fn the_generation_comes_round_instead_of_reaching_into_the_index() {
        let key = Key::new(5, 1 << (usize::BITS - Key::INDEX_BITS));
        assert_eq!((key.index(), key.generation()), (5, 0));
    }

    #[test]
    fn a_notification_before_the_sleep_prevents_it_once() {
        let reactor = Reactor::new().unwrap();
        reactor.unpark();
        reactor.unpark();
        assert!(!reactor.begin_sleep());
        assert!(reactor.begin_sleep());
        reactor.unpark();
        assert_eq!(reactor.wait(None, || {}), 0);
        assert!(reactor.begin_sleep());
    }
}
