//! Async locks, queues and channels of the heist runtime.
//!
//! Depend on `heist`, which re-exports what stands here as `heist::sync`.
//!
//! Everything is first in, first out: nobody overtakes whoever stands in line, also not where it would not have to wait. Whoever was promised
//! a place in a queue puts when it runs, and others may put before that. A
//! future that is dropped while it waits passes its turn on. A future that waits allocates nothing, nothing needs a runtime, and
//! everything may be used by tasks of several runtimes, and by plain threads through its `_blocking` methods.

#![deny(unsafe_code)]

mod barrier;
mod blocking;
pub mod broadcast;
mod condvar;
mod event;
mod feed;
pub mod mpsc;
#[allow(unsafe_code, reason = "whoever has the permit has the value")]
mod mutex;
mod notify;
#[allow(unsafe_code, reason = "whoever has the permit may write the value")]
mod once_cell;
pub mod oneshot;
mod parties;
mod permits;
mod queue;
#[allow(unsafe_code, reason = "whoever has a permit has the value")]
mod rwlock;
mod semaphore;
mod sync;
mod until;
#[allow(
    unsafe_code,
    reason = "the line is intrusive: it lies in the futures that wait"
)]
mod wait_list;
pub mod watch;

pub use barrier::{Barrier, BrokenBarrier};
pub use condvar::Condvar;
pub use event::Event;
pub use mutex::{Mutex, MutexGuard, OwnedMutexGuard, TryLockError};
pub use notify::Notify;
pub use once_cell::{OnceCell, SetError};
pub use queue::{
    Closed, Fifo, Lifo, LifoQueue, OrderedQueue, Priority, PriorityQueue, Queue, Store,
    TaskDoneError, TryGetError, TryPutError,
};
pub use rwlock::{
    OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
pub use semaphore::{OverRelease, OwnedPermit, Permit, Semaphore, TryAcquireError};

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "tests only, where an unwrap is an assertion"
)]
mod tests;
