//! The live tasks of one runtime: for shutdown, for inspection, and as what keeps the scheduler alive.
//!
//! One *shard* per worker slot plus one for all other threads. A shard is a list of slots of one word that only
//! grows, in buckets of 1024, 2048, 4096 …; a free slot links to the next free one. Only the owner of a shard
//! (whoever holds its [`LocalShard`]) fills slots, so a spawn on a worker costs plain stores and no read-modify-write.
//! A task is taken out by whoever ends it.
//!
//! ```text
//! slot:  0 ──────► ptr ◄────► ptr|LOCK          0: never used
//!                   │ ▲                         ptr: a live task, from before it can be run until it is over
//!     finish (CAS)  │ │ insert (owner, store)   LOCK: an inspector takes a handle; lasts three instructions
//!                   ▼ │
//!               next<<2|FREE                    linked into the owner's free list or the shard's remote list
//! ```
//!
//! # Invariants
//! * REG-1: a slot that reads `ptr` names a cell that is not over, and whoever ends the task takes it out first.
//! * REG-2: while a slot reads `ptr|LOCK` it is not taken out, so the cell outlives the lock.
//! * REG-3: a slot that reads `FREE` is in exactly one list; the owner's list is touched by the owner alone, and takes the
//!   remote list as a whole, so no slot can come back between a read and an exchange of its head.
//! * REG-4: with `closed` read under the lock of the outside shard, and no [`LocalShard`] out, nothing is ever inserted
//!   again; then the counters are exact.
//! * REG-5: the anchor is set before the first insert and goes only when the registry is closed, at rest and empty.
//! * REG-6: a bucket is made once, by the owner, before the first slot number in it is given out, and goes with the shard.
//!
//! # Orderings
//! * `registry-slot`: the Release store of `ptr` pairs with the inspector's Acquire exchange: it sees the cell.
//! * `registry-release-dekker`: whoever takes a task out elsewhere counts that, fences, and reads whether the registry is closed;
//!   `release` comes after the close, fences, and reads the counts. One of them lets go of the scheduler.
//! * `registry-free`: the Release push of a free slot pairs with the owner's Acquire take: it sees the link.

use crate::context::RuntimeKey;
use crate::schedule::Schedule;
use crate::sync::{
    Acquire, Arc, AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Mutex, MutexGuard, Relaxed, Release,
    capacity, fence_after_exchange, full_fence, mutated, null_pointers, spin,
};
use crate::task::{Header, TaskRef};
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;

type Slot = AtomicPtr<Header>;

const LOCK: usize = 0b01;
const FREE: usize = 0b10;
/// The end of a free list.
const END: u32 = u32::MAX >> 2;
const FIRST_BUCKET: u32 = 1024;
const BUCKETS: usize = 20;

/// Slots of a bucket.
fn bucket_size(bucket: usize) -> usize {
    capacity((FIRST_BUCKET as usize) << bucket)
}

/// The live tasks of one runtime.
pub struct Registry {
    inner: Arc<Inner>,
    /// The shard for threads that are no workers.
    outside: Mutex<LocalShard>,
}

/// Also held by each [`LocalShard`], which may outlive the registry.
struct Inner {
    shards: Box<[Shard]>,
    closed: AtomicBool,
    anchor: Mutex<Anchor>,
    /// `RuntimeKey`, packed: fixed by `anchor`.
    key: AtomicU64,
}

#[derive(Default)]
struct Anchor {
    scheduler: Option<Arc<dyn Any + Send + Sync>>,
    releasing: bool,
}

/// Written by its owner, but for `remote` and the slots; padded by being large.
struct Shard {
    buckets: [AtomicPtr<Slot>; BUCKETS],
    /// Slots that were ever used, and what was inserted and removed by the owner: single-writer counters.
    used: AtomicU32,
    inserted: AtomicU32,
    removed: AtomicU32,
    /// How many others removed (high half) and the head of the list of what they freed (low half).
    remote: AtomicU64,
    /// The owner's free list, while nobody is the owner.
    parked: Mutex<Option<u32>>,
}

impl Registry {
    /// A registry for a scheduler with `shards` worker slots.
    pub fn new(shards: usize) -> Self {
        let shards: Box<[Shard]> = (0..=shards).map(|_| Shard::new()).collect();
        let outside = shards.len() - 1;
        let inner = Arc::new(Inner {
            shards,
            closed: AtomicBool::new(false),
            anchor: Mutex::new(Anchor::default()),
            key: AtomicU64::new(u64::from(RuntimeKey::NONE.index)),
        });
        let Some(outside) = LocalShard::take(&inner, outside) else {
            unreachable!("nobody has a new shard");
        };
        Self {
            inner,
            outside: Mutex::new(outside),
        }
    }

    /// Keeps `scheduler` alive until [`release`](Registry::release), and makes it findable from its tasks. Once, before
    /// the first spawn.
    ///
    /// # Panics
    ///
    /// If the registry is not the scheduler's or has an anchor already, or 65535 runtimes live at once.
    pub fn anchor<S: Schedule>(&self, scheduler: &Arc<S>) {
        assert!(
            std::ptr::eq(scheduler.registry(), self),
            "a registry keeps the scheduler that it belongs to"
        );
        let key = RuntimeKey::register(Arc::downgrade(&scheduler.context()));
        let key = key.expect("at most 65535 runtimes at once");
        let mut anchor = self.inner.anchor.lock();
        assert!(
            anchor.scheduler.is_none() && !anchor.releasing,
            "a registry is anchored once"
        );
        anchor.scheduler = Some(Arc::clone(scheduler) as Arc<dyn Any + Send + Sync>);
        let packed = u64::from(key.generation) << 32 | u64::from(key.index);
        // Release is not needed: the scheduler reaches other threads by a synchronising hand-over.
        self.inner.key.store(packed, Relaxed);
    }

    pub(crate) fn key(&self) -> RuntimeKey {
        let packed = self.inner.key.load(Relaxed);
        RuntimeKey {
            index: packed as u16,
            generation: (packed >> 32) as u32,
        }
    }

    /// The owner's side of shard `index`. `None` if somebody has it.
    pub fn local_shard(&self, index: usize) -> Option<LocalShard> {
        LocalShard::take(&self.inner, index)
    }

    /// All live tasks. Waits for nobody; a task that is spawned meanwhile may be missing.
    pub fn tasks(&self) -> Vec<TaskRef> {
        let mut tasks = Vec::with_capacity(self.len());
        self.for_each(|task| tasks.push(task));
        tasks
    }

    /// Calls `f` with each live task. No lock is held meanwhile.
    pub fn for_each(&self, mut f: impl FnMut(TaskRef)) {
        let _outside = mutated("inspector-locks-outside").then(|| self.outside.lock());
        self.inner
            .shards
            .iter()
            .for_each(|shard| shard.for_each(&mut f));
    }

    /// The live task at this [address](crate::task::Runnable::address). Goes over all of them, but takes a handle of that one alone.
    pub fn find(&self, address: usize) -> Option<TaskRef> {
        let shards = self.inner.shards.iter();
        shards.flat_map(|shard| shard.find(address)).next()
    }

    /// How many tasks live: approximate while they come and go, exact at rest.
    pub fn len(&self) -> usize {
        let counts = self.inner.shards.iter().map(Shard::len);
        usize::try_from(counts.sum::<i64>().max(0)).unwrap_or(usize::MAX)
    }

    /// Whether no task lives.
    pub fn is_empty(&self) -> bool {
        // The shards are read one after the other. In between a task of a later one may spawn into an earlier one, and end.
        let before = self.inserted();
        self.len() == 0 && self.inserted() == before
    }

    /// How many tasks there have been, going round.
    fn inserted(&self) -> u32 {
        let counts = self.inner.shards.iter();
        counts.fold(0, |sum, shard| {
            sum.wrapping_add(shard.inserted.load(Relaxed))
        })
    }

    /// Refuses new tasks from now on: from threads outside at once, from workers from their next look.
    pub fn close(&self) {
        let _outside = self.outside.lock();
        // Relaxed is right: the lock orders it for threads outside, and what tells the workers of it for them.
        self.inner.closed.store(true, Relaxed);
    }

    /// Whether new tasks are refused.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Relaxed)
    }

    /// Lets go of the scheduler as soon as no task lives, after [`close`](Registry::close) and with every [`LocalShard`] given
    /// back. Returns whether that was at once; else the end of the last task does it.
    pub fn release(&self) -> bool {
        self.inner.anchor.lock().releasing = true;
        // ORDERING(registry-release-dekker): the close was written before, the counts are read after.
        full_fence("registry-release-fence");
        self.inner.try_release()
    }

    /// The shard for threads that are no workers. `None` if the registry is closed.
    pub(crate) fn outside(&self) -> Option<MutexGuard<'_, LocalShard>> {
        let outside = self.outside.lock();
        let closed = self.inner.closed.load(Relaxed) && !mutated("closed-unseen");
        (!closed).then_some(outside)
    }

    /// Takes the task at this place out.
    #[inline]
    pub(crate) fn remove(&self, shard: u16, slot: u32, local: Option<&LocalShard>) {
        match local.filter(|local| local.index == shard && Arc::ptr_eq(&local.inner, &self.inner)) {
            Some(local) => local.remove(slot),
            None => {
                self.inner.shards[usize::from(shard)].remove(slot);
                // ORDERING(registry-release-dekker): the count is written before, the close is read after. The owner of a
                // shard needs none: it gives the shard back, under a lock, before `release` looks at it.
                fence_after_exchange("registry-release-fence");
            }
        }
        if self.inner.closed.load(Relaxed) {
            self.inner.removed_after_close();
        }
    }
}

impl Inner {
    #[cold]
    fn removed_after_close(&self) {
        if self.anchor.lock().releasing {
            self.try_release();
        }
    }

    fn try_release(&self) -> bool {
        let at_rest = self.closed.load(Relaxed)
            && self.shards[..self.shards.len() - 1]
                .iter()
                .all(Shard::is_parked);
        if !at_rest || self.shards.iter().map(Shard::len).sum::<i64>() != 0 {
            return false;
        }
        let mut anchor = self.anchor.lock();
        let scheduler = anchor.scheduler.take();
        drop(anchor);
        let packed = self.key.load(Relaxed);
        if scheduler.is_some() {
            RuntimeKey {
                index: packed as u16,
                generation: (packed >> 32) as u32,
            }
            .deregister();
        }
        // The scheduler goes with no lock held.
        drop(scheduler);
        true
    }
}

impl Shard {
    fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            used: AtomicU32::new(0),
            inserted: AtomicU32::new(0),
            removed: AtomicU32::new(0),
            remote: AtomicU64::new(u64::from(END)),
            parked: Mutex::new(Some(END)),
        }
    }

    fn is_parked(&self) -> bool {
        self.parked.lock().is_some()
    }

    /// All counters go round; fewer than 2^31 tasks of one shard live at once, so their difference is exact.
    fn len(&self) -> i64 {
        let remote = (self.remote.load(Relaxed) >> 32) as u32;
        let removed = self.removed.load(Relaxed).wrapping_add(remote);
        i64::from(self.inserted.load(Relaxed).wrapping_sub(removed) as i32)
    }

    /// Bucket and place in it of a slot.
    #[inline]
    const fn locate(slot: u32) -> (usize, usize) {
        let at = slot + FIRST_BUCKET;
        let bucket = at.ilog2() - FIRST_BUCKET.ilog2();
        (bucket as usize, (at - (FIRST_BUCKET << bucket)) as usize)
    }

    /// The slot with a number that `grow` gave out.
    #[inline]
    fn slot(&self, slot: u32) -> &Slot {
        let (bucket, place) = Self::locate(slot);
        // Relaxed is right: whoever has the number has it from the owner, through `used` or through the task that is there.
        let bucket = self.buckets[bucket].load(Relaxed);
        debug_assert!(!bucket.is_null());
        // SAFETY: REG-6: `grow` made this bucket, with more than `place` slots.
        let slot = unsafe { bucket.add(place) };
        // SAFETY: REG-6: buckets live as long as the shard.
        unsafe { &*slot }
    }

    /// Makes the next slot. By the owner.
    #[cold]
    fn grow(&self) -> u32 {
        let slot = self.used.load(Relaxed);
        let (bucket, place) = Self::locate(slot);
        assert!(
            bucket < BUCKETS,
            "more than 2^30 tasks of one worker live at once"
        );
        if place == 0 {
            let slots = Box::into_raw(null_pointers::<Header>(bucket_size(bucket)));
            self.buckets[bucket].store(slots.cast(), Relaxed);
        }
        // ORDERING(registry-used): Release shows the bucket, and that its slots are empty.
        self.used.store(slot + 1, Release);
        slot
    }

    /// Takes a task out, on a thread that is not the owner.
    #[cold]
    fn remove(&self, index: u32) {
        let slot = self.slot(index);
        clear(slot, END);
        let mut head = self.remote.load(Relaxed);
        loop {
            slot.store(link(head as u32), Relaxed);
            let one = u64::from(!mutated("remote-removal-uncounted"));
            // What overflows falls out at the top: see `len`.
            let next = ((head >> 32) + one) << 32 | u64::from(index);
            // ORDERING(registry-free): hands the link, and the slot, to the owner.
            match self
                .remote
                .compare_exchange_weak(head, next, Release, Relaxed)
            {
                Ok(_) => return,
                Err(actual) => head = actual,
            }
        }
    }

    fn find(&self, address: usize) -> Option<TaskRef> {
        self.slots()
            .filter(|slot| slot.load(Relaxed).addr() & !LOCK == address) // A guess: the task may change before it is counted.
            .find_map(|slot| inspect(slot).filter(|task| task.pointer().addr().get() == address))
    }

    fn for_each(&self, f: &mut impl FnMut(TaskRef)) {
        let _parked = mutated("inspector-locks-shard").then(|| self.parked.lock());
        self.slots().filter_map(inspect).for_each(f);
    }

    /// The slots that were ever used.
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        // ORDERING(registry-used): Acquire sees the buckets of all slots below this number.
        (0..self.used.load(Acquire)).map(|index| self.slot(index))
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        for (bucket, slots) in self.buckets.iter().enumerate() {
            let slots = slots.load(Relaxed);
            if !slots.is_null() {
                let count = bucket_size(bucket);
                let slots = std::ptr::slice_from_raw_parts_mut(slots, count);
                // SAFETY: REG-6: made from a box of this length by `grow`; `&mut self` says that nobody reads it.
                drop(unsafe { Box::from_raw(slots) });
            }
        }
    }
}

/// A free slot's content.
#[inline]
fn link(next: u32) -> *mut Header {
    std::ptr::without_provenance_mut((next as usize) << 2 | FREE)
}

/// The next free slot after one with this content.
#[inline]
fn linked(content: *mut Header) -> u32 {
    debug_assert!(content.addr() & FREE != 0);
    (content.addr() >> 2) as u32
}

/// Takes a handle of the task in this slot.
fn inspect(slot: &Slot) -> Option<TaskRef> {
    // ORDERING(registry-slot): a guess; the exchange decides.
    let mut seen = slot.load(Relaxed);
    loop {
        if seen.is_null() || seen.addr() & FREE != 0 {
            return None;
        }
        if seen.addr() & LOCK != 0 {
            if mutated("inspector-skips-locked") {
                return None;
            }
            spin();
            seen = slot.load(Relaxed);
            continue;
        }
        // ORDERING(registry-slot): Acquire sees the cell that the owner's Release store published.
        let locked = seen.map_addr(|address| address | LOCK);
        match slot.compare_exchange_weak(seen, locked, Acquire, Relaxed) {
            Ok(_) => break,
            Err(actual) => seen = actual,
        }
    }
    let header = NonNull::new(seen)?;
    // SAFETY: REG-2: the cell is not over, hence not freed, while this thread has the lock.
    let task = unsafe { TaskRef::from_header(header) };
    debug_assert_eq!(slot.load(Relaxed).addr(), seen.addr() | LOCK, "REG-2");
    // ORDERING(registry-slot): pairs with the Acquire exchange of whoever takes the task out.
    slot.store(seen, Release);
    Some(task)
}

/// Empties a slot, as soon as no inspector is in it.
#[inline]
fn clear(slot: &Slot, next: u32) {
    let mut seen = slot.load(Relaxed);
    loop {
        if seen.addr() & LOCK != 0 && !mutated("registry-ignore-lock") {
            spin();
            seen = slot.load(Relaxed);
            continue;
        }
        debug_assert!(
            !seen.is_null() && seen.addr() & FREE == 0,
            "a task is taken out once"
        );
        // ORDERING(registry-slot): Acquire sees the handle that an inspector took.
        match slot.compare_exchange_weak(seen, link(next), Acquire, Relaxed) {
            Ok(_) => return,
            Err(actual) => seen = actual,
        }
    }
}

/// The right to fill the slots of one shard. One per shard; goes back when dropped.
pub struct LocalShard {
    inner: Arc<Inner>,
    index: u16,
    free: Cell<u32>,
}

impl LocalShard {
    fn take(inner: &Arc<Inner>, index: usize) -> Option<Self> {
        let free = inner.shards.get(index)?.parked.lock().take()?;
        let index = u16::try_from(index).ok()?;
        Some(Self {
            inner: Arc::clone(inner),
            index,
            free: Cell::new(free),
        })
    }

    #[inline]
    fn shard(&self) -> &Shard {
        &self.inner.shards[usize::from(self.index)]
    }

    /// Which shard this is.
    pub fn index(&self) -> usize {
        self.index.into()
    }

    pub(crate) fn place(&self) -> u16 {
        self.index
    }

    /// Whether the registry refuses new tasks.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // A worker that misses the close looks again before it sleeps, and cancels what it spawned meanwhile.
        self.inner.closed.load(Relaxed) && !mutated("closed-unseen")
    }

    /// Calls `f` with each live task of this shard.
    pub fn for_each(&self, mut f: impl FnMut(TaskRef)) {
        self.shard().for_each(&mut f);
    }

    /// A free slot, which the caller fills with [`publish`](LocalShard::publish).
    #[inline]
    pub(crate) fn reserve(&self) -> u32 {
        let slot = self.free.get();
        if slot == END {
            return self.refill();
        }
        self.free.set(linked(self.shard().slot(slot).load(Relaxed)));
        slot
    }

    #[cold]
    fn refill(&self) -> u32 {
        let shard = self.shard();
        let mut seen = shard.remote.load(Relaxed);
        while seen as u32 != END {
            let emptied = seen >> 32 << 32 | u64::from(END);
            // ORDERING(registry-free): Acquire sees the links of all that was pushed.
            match shard
                .remote
                .compare_exchange_weak(seen, emptied, Acquire, Relaxed)
            {
                Ok(_) => {
                    let slot = seen as u32;
                    self.free.set(linked(shard.slot(slot).load(Relaxed)));
                    return slot;
                }
                Err(actual) => seen = actual,
            }
        }
        shard.grow()
    }

    /// Lists the task at a reserved slot.
    ///
    /// # Safety
    ///
    /// * `slot` comes from [`reserve`](LocalShard::reserve) of this shard and was not published since;
    /// * `header` is a live cell that is not over, and whoever ends it calls [`Registry::remove`] before.
    #[inline]
    pub(crate) unsafe fn publish(&self, slot: u32, header: NonNull<Header>) {
        let shard = self.shard();
        // Single writer: a plain addition.
        shard
            .inserted
            .store(shard.inserted.load(Relaxed).wrapping_add(1), Relaxed);
        // ORDERING(registry-slot): Release shows the finished cell to inspectors.
        shard.slot(slot).store(header.as_ptr(), Release);
    }

    #[inline]
    fn remove(&self, slot: u32) {
        let shard = self.shard();
        clear(shard.slot(slot), self.free.replace(slot));
        shard
            .removed
            .store(shard.removed.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

impl Drop for LocalShard {
    fn drop(&mut self) {
        *self.shard().parked.lock() = Some(self.free.get());
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("tasks", &self.len())
            .field("closed", &self.is_closed())
            .finish()
    }
}

impl fmt::Debug for LocalShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalShard")
            .field("index", &self.index)
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_counters_go_round() {
        let shard = Shard::new();
        assert_eq!(shard.grow(), 0);
        shard.slot(0).store(std::ptr::dangling_mut(), Relaxed);
        // 2^32 + 3 were inserted, 5 removed by the owner, 2^32 - 3 by others.
        shard.inserted.store(3, Relaxed);
        shard.removed.store(5, Relaxed);
        let remote = u64::from(u32::MAX - 2) << 32 | u64::from(END);
        shard.remote.store(remote, Relaxed);
        assert_eq!(shard.len(), 1);
        shard.inserted.store(8, Relaxed);
        shard.removed.store(4, Relaxed);
        shard.remote.store(remote | 3 << 32, Relaxed);
        assert_eq!(shard.len(), 5);
        shard.remove(0);
        assert_eq!(shard.len(), 4);
    }
}
