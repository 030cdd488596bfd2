//! Locks that may be held over an await, queues, and other ways for tasks to wait for each other.
//!
//! | | asyncio |
//! |---|---|
//! | [`Mutex`] | `Lock` |
//! | [`RwLock`] | |
//! | [`Semaphore`] | `Semaphore`, `BoundedSemaphore` |
//! | [`Event`] | `Event` |
//! | [`Barrier`] | `Barrier` |
//! | [`Queue`], [`PriorityQueue`], [`LifoQueue`] | the same names |
//!
//! All are first in, first out: nobody overtakes whoever waits, also not where it would not have to wait itself. A future that is
//! dropped while it waits, or when its turn has just come, passes the turn on. A task that waits allocates nothing.
//!
//! None needs a runtime. They may be shared by tasks of several runtimes, and by plain threads: what waits has a twin whose name
//! ends in `_blocking`. On a worker another thread serves meanwhile. Where it has to wait, such a twin panics as
//! [`block_on`](crate::block_on) does: on a [`LocalRuntime`](crate::LocalRuntime)'s own thread inside of a task, and in a runtime that is
//! shut down.
//!
//! A panic poisons none of them.
//!
//! # Examples
//!
//! A mutex, and a semaphore that lets two tasks at a time do something:
//!
//! ```
//! use std::sync::Arc;
//!
//! use heist::sync::{Mutex, Semaphore};
//!
//! heist::run(async {
//!     let (total, places) = (Arc::new(Mutex::new(0)), Arc::new(Semaphore::new(2)));
//!     let tasks: Vec<_> = (0..10)
//!         .map(|number| {
//!             let (total, places) = (Arc::clone(&total), Arc::clone(&places));
//!             heist::spawn(async move {
//!                 let _place = places.acquire().await;
//!                 *total.lock().await += number;
//!             })
//!         })
//!         .collect();
//!     for task in tasks {
//!         task.await.unwrap();
//!     }
//!     assert_eq!(*total.lock().await, 45);
//! });
//! ```
//!
//! Many readers or one writer:
//!
//! ```
//! # heist::run(async {
//! let lock = heist::sync::RwLock::new(1);
//! *lock.write().await += 1;
//! let (one, other) = (lock.read().await, lock.read().await);
//! assert_eq!(*one + *other, 4);
//! # });
//! ```
//!
//! An event that is set by a thread which is no task:
//!
//! ```
//! use std::sync::Arc;
//!
//! use heist::sync::Event;
//!
//! let ready = Arc::new(Event::new());
//! let seen = heist::spawn({
//!     let ready = Arc::clone(&ready);
//!     async move { ready.wait().await }
//! });
//! ready.set();
//! seen.wait_blocking().unwrap();
//! ```
//!
//! A queue, two workers, and a wait until all is done:
//!
//! ```
//! use std::sync::Arc;
//!
//! use heist::sync::Queue;
//!
//! heist::run(async {
//!     let jobs = Arc::new(Queue::bounded(10));
//!     let workers: Vec<_> = (0..2)
//!         .map(|_| {
//!             let jobs = Arc::clone(&jobs);
//!             heist::spawn(async move {
//!                 let mut total = 0;
//!                 while let Ok(job) = jobs.get().await {
//!                     total += job;
//!                     jobs.task_done().unwrap();
//!                 }
//!                 total
//!             })
//!         })
//!         .collect();
//!     for job in 0..100 {
//!         jobs.put(job).await.unwrap();
//!     }
//!     jobs.join().await;
//!     jobs.close();
//!     let mut total = 0;
//!     for worker in workers {
//!         total += worker.await.unwrap();
//!     }
//!     assert_eq!(total, 4950);
//! });
//! ```
//!
//! A barrier, at which each gets a number:
//!
//! ```
//! # heist::run(async {
//! let barrier = std::sync::Arc::new(heist::sync::Barrier::new(2));
//! let other = std::sync::Arc::clone(&barrier);
//! let task = heist::spawn(async move { other.wait().await });
//! let mine = barrier.wait().await.unwrap();
//! assert_eq!(mine + task.await.unwrap().unwrap(), 1);
//! # });
//! ```

pub use heist_sync::{
    Barrier, BrokenBarrier, Closed, Event, Fifo, Lifo, LifoQueue, Mutex, MutexGuard, OrderedQueue,
    OverRelease, OwnedMutexGuard, OwnedPermit, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, Permit,
    Priority, PriorityQueue, Queue, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, Store,
    TaskDoneError, TryAcquireError, TryGetError, TryLockError, TryPutError,
};
