//! What is known about one source: which operations may go ahead, in one word.
//!
//! ```text
//!  63            8   6    5        4      3             2            1         0
//! | tick (56 bits) |GONE|PRIORITY|ERROR|WRITE_CLOSED|READ_CLOSED|WRITABLE|READABLE|
//! ```
//!
//! | event      | who                        | READABLE, WRITABLE   | the other bits | tick |
//! |------------|----------------------------|----------------------|----------------|------|
//! | `on_event` | the thread in the reactor  | added                | added          | +1   |
//! | `on_clear` | an operation that found less than it asked for | removed, if the tick is the one it saw | stay | same |
//! | `on_gone`  | shutdown                   | stay                 | GONE added     | +1   |
//!
//! # Invariants
//!
//! * INV-1: a bit other than READABLE and WRITABLE is never taken back.
//! * INV-2: a clear by an operation that is older than the newest event changes nothing. The tick does not come round
//!   within the life of a machine: 2^56 events.
//! * INV-3: every event changes the word, so who waits for a change of the tick sees each.
//!
//! READ_CLOSED makes reads go ahead for ever, since no further edge may come after it: it is what lets a short read
//! clear READABLE without losing the end of the stream. ERROR and PRIORITY make nothing go ahead by themselves; the
//! event that carries them also sets READABLE and WRITABLE, which an operation can take back. An error on a datagram
//! socket passes; if the bit counted, each later read would spin.
//!
//! # Orderings
//!
//! Tag `readiness-word`. What the kernel knows is ordered by the kernel, and a waiter that registers sees the word by the lock of the
//! waiters (see `source`): between threads the word carries nothing else. On one thread an operation must stay between the load
//! of the tick that it starts at and the clear that names it. If it went ahead of the load, the clear could take back an event
//! that came after it.

use crate::sync::{Acquire, AtomicU64, Relaxed, Release};
use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// Which direction of a source somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Reading: data, a connection to accept, the end of the stream.
    Readable,
    /// Writing: room for data, the end of a `connect`.
    Writable,
}

impl Interest {
    /// The bits that let an operation of this direction go ahead.
    const fn mask(self) -> Ready {
        match self {
            Self::Readable => Ready(Ready::READABLE.0 | Ready::READ_CLOSED.0),
            Self::Writable => Ready(Ready::WRITABLE.0 | Ready::WRITE_CLOSED.0),
        }
    }

    /// The bit that an operation of this direction may clear.
    const fn clearable(self) -> Ready {
        match self {
            Self::Readable => Ready::READABLE,
            Self::Writable => Ready::WRITABLE,
        }
    }
}

/// A set of things that are known about a source.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ready(u8);

impl Ready {
    /// Nothing is known.
    pub const EMPTY: Self = Self(0);
    /// A read may go ahead.
    pub const READABLE: Self = Self(1);
    /// A write may go ahead.
    pub const WRITABLE: Self = Self(1 << 1);
    /// The other side will send nothing more.
    pub const READ_CLOSED: Self = Self(1 << 2);
    /// The other side takes nothing more.
    pub const WRITE_CLOSED: Self = Self(1 << 3);
    /// The source reported an error at some time; the next operation returns it.
    pub const ERROR: Self = Self(1 << 4);
    /// Out-of-band data came at some time.
    pub const PRIORITY: Self = Self(1 << 5);
    /// The runtime that watched this source has been shut down.
    pub const GONE: Self = Self(1 << 6);

    /// Whether `self` and `other` have something in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What is in one of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a read may go ahead.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        self.allows(Interest::Readable)
    }

    /// Whether a write may go ahead.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.allows(Interest::Writable)
    }

    /// Whether the other side will send nothing more.
    #[must_use]
    pub const fn is_read_closed(self) -> bool {
        self.intersects(Self::READ_CLOSED)
    }

    /// Whether the other side takes nothing more.
    #[must_use]
    pub const fn is_write_closed(self) -> bool {
        self.intersects(Self::WRITE_CLOSED)
    }

    /// Whether the source reported an error at some time.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.intersects(Self::ERROR)
    }

    /// Whether an operation of this direction may go ahead.
    #[must_use]
    pub const fn allows(self, interest: Interest) -> bool {
        self.intersects(interest.mask())
    }
}

impl BitOr for Ready {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            "READABLE",
            "WRITABLE",
            "READ_CLOSED",
            "WRITE_CLOSED",
            "ERROR",
            "PRIORITY",
            "GONE",
        ];
        let mut set = f.debug_set();
        for (bit, name) in names.iter().enumerate() {
            if self.0 & (1 << bit) != 0 {
                set.entry(&format_args!("{name}"));
            }
        }
        set.finish()
    }
}

/// One value of a [`Readiness`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What is known.
    pub ready: Ready,
    /// How many events it took to know it.
    pub tick: u64,
}

impl Snapshot {
    const TICK_SHIFT: u32 = 8;

    const fn unpack(word: u64) -> Self {
        Self {
            ready: Ready((word & 0xff) as u8),
            tick: word >> Self::TICK_SHIFT,
        }
    }

    const fn pack(self) -> u64 {
        (self.tick << Self::TICK_SHIFT) | self.ready.0 as u64
    }

    /// Whether an operation may go ahead which has failed at the tick `tried`, if it has been tried at all.
    ///
    /// A closed direction goes ahead again only after something happened: one that is closed and yet would block
    /// must not make its waiter spin.
    #[must_use]
    pub const fn allows(self, interest: Interest, tried: Option<u64>) -> bool {
        match tried {
            Some(tick) if tick == self.tick => self.ready.intersects(interest.clearable()),
            _ => self.ready.allows(interest),
        }
    }

    const fn on_event(self, ready: Ready) -> Self {
        // The shift in `pack` cuts the tick to its 56 bits.
        Self {
            ready: Ready(self.ready.0 | ready.0),
            tick: self.tick.wrapping_add(1),
        }
    }

    const fn on_clear(self, interest: Interest, seen: u64) -> Self {
        if self.tick != seen {
            return self;
        }
        Self {
            ready: Ready(self.ready.0 & !interest.clearable().0),
            tick: self.tick,
        }
    }
}

/// The word of one source.
#[derive(Debug)]
pub struct Readiness {
    word: AtomicU64,
}

impl Readiness {
    /// A word that knows `ready` and has seen no event.
    #[must_use]
    pub fn new(ready: Ready) -> Self {
        Self {
            word: AtomicU64::new(Snapshot { ready, tick: 0 }.pack()),
        }
    }

    /// What is known now.
    #[inline]
    pub fn load(&self) -> Snapshot {
        // ORDERING(readiness-word): the operation that this allows stays behind it; its other end is the exchange in `step`.
        Snapshot::unpack(self.word.load(Acquire))
    }

    /// The reactor reports something. A new tick.
    pub fn on_event(&self, ready: Ready) {
        self.step(|seen| seen.on_event(ready));
    }

    /// An operation of this direction, which started at the tick `seen`, found less than it asked for.
    pub fn clear(&self, interest: Interest, seen: u64) {
        self.step(|now| {
            if crate::sync::mutated("clear-any-tick") {
                now.on_clear(interest, now.tick)
            } else {
                now.on_clear(interest, seen)
            }
        });
    }

    fn step(&self, transition: impl Fn(Snapshot) -> Snapshot) {
        let mut seen = self.word.load(Relaxed); // ORDERING(readiness-word): a guess; the exchange decides
        loop {
            let next = transition(Snapshot::unpack(seen)).pack();
            if next == seen {
                return;
            }
            // ORDERING(readiness-word): the operation that makes it clear stays before it.
            match self
                .word
                .compare_exchange_weak(seen, next, Release, Relaxed)
            {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }
}

#[cfg(test)]
mod tests;
