//! A hierarchical timing wheel over intrusive entries: a pure data structure, without clock, lock or thread.
//!
//! Time is a `u64` of nanoseconds. Nine levels of 64 slots cover it whole: a slot of level `k` is `2^(10 + 6k)` ns wide,
//! so level 0 spans 65 µs in steps of 1 µs and level 8 ends where the `u64` ends. Nothing can lie beyond the top level,
//! hence nothing wraps.
//!
//! # Invariants
//!
//! * INV-1: an entry that is linked lies at the level of the highest bit in which its deadline differs from `elapsed`,
//!   in the slot that its deadline names there. (An entry that was due when it came counts as due at `elapsed`.)
//!   So all entries of one level are due before all of the next, and in a level the lowest occupied slot is the first.
//! * INV-2: a slot of level 0 is sorted by deadline, equals in the order in which they were inserted. In a higher slot
//!   entries stand in the order in which they came. Since equal deadlines are always in the same slot (INV-1), and a
//!   slot is emptied from its front, equals keep their order on the way down.
//! * INV-3: `min` of an occupied slot is not later than the deadline of any entry in it; it is exact unless the
//!   earliest was removed.
//! * INV-4: bit `s` of `occupied[k]` is set exactly while slot `s` of level `k` has entries; bit `k` of `levels`
//!   exactly while `occupied[k]` is not 0.
//! * INV-5: a linked entry is pinned, alive, and in this wheel only. Its links are touched with `&mut Wheel` only.
//!
//! Insert, remove and `next_deadline` take a few instructions, apart from the search for the place in a slot of
//! level 0, which starts at the end where most entries belong. An entry moves down at most eight times.

use crate::sync::UnsafeCell;
use std::ptr::{self, NonNull};
use std::task::Waker;

const LEVELS: usize = 9;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
/// log2 of the width of a slot of level 0, in ns.
const GRAIN_BITS: u32 = 10;

/// What the wheel keeps in each timer.
#[derive(Debug)]
pub(crate) struct Entry {
    links: UnsafeCell<Links>,
}

#[derive(Debug)]
struct Links {
    next: *const Entry,
    prev: *const Entry,
    deadline: u64,
    level: u8,
    slot: u8,
    linked: bool,
    waker: Option<Waker>,
}

impl Entry {
    pub(crate) fn new() -> Self {
        Self {
            links: UnsafeCell::new(Links {
                next: ptr::null(),
                prev: ptr::null(),
                deadline: 0,
                level: 0,
                slot: 0,
                linked: false,
                waker: None,
            }),
        }
    }
}

/// The list of one slot: circular, so that `head.prev` is its tail.
#[derive(Clone, Copy, Debug)]
struct Slot {
    head: *const Entry,
    min: u64,
}

const EMPTY: Slot = Slot {
    head: ptr::null(),
    min: u64::MAX,
};

#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Box<[[Slot; SLOTS]; LEVELS]>,
    occupied: [u64; LEVELS],
    levels: u16,
    elapsed: u64,
}

// SAFETY: the pointers lead to entries that INV-5 gives to whoever has the wheel, and their wakers are `Send`.
unsafe impl Send for Wheel {}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            slots: Box::new([[EMPTY; SLOTS]; LEVELS]),
            occupied: [0; LEVELS],
            levels: 0,
            elapsed: 0,
        }
    }

    /// When the first entry is due; never later than that, and exact unless the first of its slot was removed.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let (level, slot) = self.first()?;
        Some(self.slots[level][slot].min)
    }

    /// Links `entry`, to be due at `deadline`.
    ///
    /// # Safety
    ///
    /// * `entry` is linked nowhere, and nobody else touches its links.
    /// * It stays where it is, and alive, until it is popped or removed.
    pub(crate) unsafe fn insert(&mut self, entry: NonNull<Entry>, deadline: u64, waker: Waker) {
        // SAFETY: the caller gives the entry to this wheel.
        unsafe {
            with(entry.as_ptr(), |links| {
                debug_assert!(!links.linked, "an entry is inserted twice");
                links.deadline = deadline;
                links.linked = true;
                links.waker = Some(waker);
            });
        }
        // SAFETY: it is ours, and not in a list.
        unsafe { self.link(entry.as_ptr(), deadline) };
    }

    /// Unlinks `entry` and gives its waker back, if it is linked.
    ///
    /// # Safety
    ///
    /// `entry` is alive, and in no other wheel.
    pub(crate) unsafe fn remove(&mut self, entry: NonNull<Entry>) -> Option<Waker> {
        // SAFETY: the entry is alive, and `&mut self` keeps others from its links (INV-5).
        let linked = unsafe { with(entry.as_ptr(), |links| links.linked) };
        if !linked {
            return None;
        }
        // SAFETY: it is in a list of this wheel.
        unsafe { self.unlink(entry.as_ptr()) };
        // SAFETY: as above.
        unsafe { with(entry.as_ptr(), release) }
    }

    /// Gives the waker of a linked entry to `f`.
    ///
    /// # Safety
    ///
    /// As for [`remove`](Self::remove).
    pub(crate) unsafe fn waker<R>(
        &mut self,
        entry: NonNull<Entry>,
        f: impl FnOnce(&mut Option<Waker>) -> R,
    ) -> R {
        // SAFETY: the entry is alive, and `&mut self` keeps others from its links (INV-5).
        unsafe { with(entry.as_ptr(), |links| f(&mut links.waker)) }
    }

    /// Unlinks the first entry that is due at `now`. Earlier deadlines come first, equal ones as they were inserted.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<(NonNull<Entry>, Option<Waker>)> {
        loop {
            let Some((level, slot)) = self.first() else {
                self.elapsed = self.elapsed.max(now);
                return None;
            };
            if level > 0 {
                let start = self.start(level, slot);
                if start > now {
                    self.elapsed = self.elapsed.max(now);
                    return None;
                }
                self.cascade(level, slot, start);
                continue;
            }
            let head = self.slots[0][slot].head;
            if self.slots[0][slot].min > now {
                self.elapsed = self.elapsed.max(now);
                return None;
            }
            // SAFETY: it is the head of a list of this wheel.
            unsafe { self.unlink(head) };
            // SAFETY: INV-5.
            let waker = unsafe { with(head, release) };
            return NonNull::new(head.cast_mut()).map(|entry| (entry, waker));
        }
    }

    /// The lowest occupied slot of the lowest occupied level: the first, by INV-1.
    fn first(&self) -> Option<(usize, usize)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// When the given slot begins, in the span of its level in which `elapsed` is.
    fn start(&self, level: usize, slot: usize) -> u64 {
        let shift = shift_of(level);
        let span = shift + SLOT_BITS;
        let base = if span >= u64::BITS {
            0
        } else {
            self.elapsed >> span << span
        };
        base | ((slot as u64) << shift)
    }

    /// Moves time to the beginning of a slot, and its entries down.
    fn cascade(&mut self, level: usize, slot: usize, start: u64) {
        debug_assert!(
            start >= self.elapsed,
            "a slot above level 0 lies ahead (INV-1)"
        );
        self.elapsed = start;
        while !self.slots[level][slot].head.is_null() {
            let entry = self.slots[level][slot].head;
            // SAFETY: it is the head of a list of this wheel.
            unsafe { self.unlink(entry) };
            // SAFETY: INV-5.
            let deadline = unsafe { with(entry, |links| links.deadline) };
            // SAFETY: it is ours, and no longer in a list.
            unsafe { self.link(entry, deadline) };
        }
    }

    /// # Safety
    ///
    /// `entry` is this wheel's, and in no list.
    unsafe fn link(&mut self, entry: *const Entry, deadline: u64) {
        let (level, index) = place(self.elapsed, deadline);
        let slot = &mut self.slots[level][index];
        slot.min = slot.min.min(deadline);
        self.occupied[level] |= 1 << index;
        self.levels |= 1 << level;
        let head = slot.head;
        if head.is_null() {
            slot.head = entry;
            // SAFETY: the entry is ours.
            unsafe { with(entry, |links| links.join(entry, entry, level, index)) };
            return;
        }
        // SAFETY: INV-5, for the list of this slot.
        let mut after = unsafe { with(head, |links| links.prev) };
        if level == 0 {
            // SAFETY: as above. The tail is where most belong, the front is looked at first.
            let first = unsafe { with(head, |links| links.deadline) };
            if deadline < first {
                slot.head = entry;
            } else {
                // The head is not later, so the search ends there.
                // SAFETY: as above.
                while unsafe { with(after, |links| links.deadline) } > deadline {
                    // SAFETY: as above.
                    after = unsafe { with(after, |links| links.prev) };
                }
            }
        }
        // SAFETY: `after` is in the list.
        let before = unsafe { with(after, |links| std::mem::replace(&mut links.next, entry)) };
        // SAFETY: `before` followed it.
        unsafe { with(before, |links| links.prev = entry) };
        // SAFETY: the entry is ours.
        unsafe { with(entry, |links| links.join(after, before, level, index)) };
    }

    /// # Safety
    ///
    /// `entry` is in a list of this wheel.
    unsafe fn unlink(&mut self, entry: *const Entry) {
        // SAFETY: INV-5.
        let (next, prev, level, index) = unsafe {
            with(entry, |links| {
                (
                    links.next,
                    links.prev,
                    usize::from(links.level),
                    usize::from(links.slot),
                )
            })
        };
        let slot = &mut self.slots[level][index];
        if next == entry {
            *slot = EMPTY;
            self.occupied[level] &= !(1 << index);
            if self.occupied[level] == 0 {
                self.levels &= !(1 << level);
            }
            return;
        }
        // SAFETY: the neighbours are in the same list.
        unsafe { with(prev, |links| links.next = next) };
        // SAFETY: as above.
        let follower = unsafe {
            with(next, |links| {
                links.prev = prev;
                links.deadline
            })
        };
        if slot.head == entry {
            slot.head = next;
            if level == 0 {
                slot.min = follower;
            }
        }
    }
}

impl Links {
    fn join(&mut self, prev: *const Entry, next: *const Entry, level: usize, slot: usize) {
        self.prev = prev;
        self.next = next;
        // Both fit: there are 9 levels of 64 slots.
        self.level = level as u8;
        self.slot = slot as u8;
    }
}

/// The entry leaves the wheel.
fn release(links: &mut Links) -> Option<Waker> {
    links.linked = false;
    links.next = ptr::null();
    links.prev = ptr::null();
    links.waker.take()
}

/// # Safety
///
/// `entry` is alive, and nobody else has its links meanwhile.
unsafe fn with<R>(entry: *const Entry, f: impl FnOnce(&mut Links) -> R) -> R {
    // SAFETY: the caller says that it is alive.
    let entry = unsafe { &*entry };
    entry.links.with_mut(|links| {
        // SAFETY: the caller says that nobody else has them, and `f` is a few field accesses that lead to no other
        // entry.
        f(unsafe { &mut *links })
    })
}

const fn shift_of(level: usize) -> u32 {
    GRAIN_BITS + SLOT_BITS * level as u32
}

/// Level and slot of a deadline (INV-1).
fn place(elapsed: u64, deadline: u64) -> (usize, usize) {
    let deadline = deadline.max(elapsed);
    let differs = (elapsed ^ deadline) >> GRAIN_BITS;
    let level = match differs {
        0 => 0,
        _ => ((63 - differs.leading_zeros()) / SLOT_BITS) as usize,
    };
    (
        level,
        ((deadline >> shift_of(level)) % SLOTS as u64) as usize,
    )
}

#[cfg(any(test, fuzzing))]
pub mod model;
#[cfg(test)]
mod tests;
