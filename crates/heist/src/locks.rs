//! Locks that may be held over an await, queues, and other ways for tasks to wait for each other.
//!
//! | | asyncio |
//! |---|---|
//! | [`Mutex`] | `Lock` |
//! | [`RwLock`] | |
//! | [`Semaphore`] | `Semaphore`, `BoundedSemaphore` |
//! | [`Event`] | `Event` |
//! | [`Condvar`] | `Condition` |
//! | [`Barrier`] | `Barrier` |
//! | [`Queue`], [`PriorityQueue`], [`LifoQueue`] | the same names |
//! | [`Notify`], [`OnceCell`], [`mpsc`], [`oneshot`], [`broadcast`], [`watch`] | none; tokio's, by the same names |
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
//! A condition variable: whoever waits has the lock again when what it waited for is so.
//!
//! ```
//! use std::sync::Arc;
//!
//! use heist::sync::{Condvar, Mutex};
//!
//! heist::run(async {
//!     let stock = Arc::new((Mutex::new(0), Condvar::new()));
//!     let buyer = heist::spawn({
//!         let stock = Arc::clone(&stock);
//!         async move {
//!             let guard = stock.0.lock().await;
//!             let mut guard = stock.1.wait_while(guard, |count| *count < 3).await;
//!             *guard -= 3;
//!         }
//!     });
//!     for _ in 0..3 {
//!         *stock.0.lock().await += 1;
//!         stock.1.notify_one();
//!     }
//!     buyer.await.unwrap();
//!     assert_eq!(*stock.0.lock().await, 0);
//! });
//! ```
//!
//! Channels, whose ends know of each other: of many senders and one receiver, for one value, for all receivers, and of the last value:
//!
//! ```
//! use heist::sync::{broadcast, mpsc, oneshot, watch};
//!
//! heist::run(async {
//!     let (sender, mut receiver) = mpsc::channel(16);
//!     heist::spawn(async move {
//!         for number in 0..3 {
//!             sender.send(number).await.unwrap();
//!         }
//!     });
//!     let mut total = 0;
//!     while let Some(number) = receiver.recv().await {
//!         total += number;
//!     }
//!     assert_eq!(total, 3);
//!
//!     let (sender, receiver) = oneshot::channel();
//!     sender.send("done").unwrap();
//!     assert_eq!(receiver.await, Ok("done"));
//!
//!     let (sender, mut one) = broadcast::channel(16);
//!     let mut other = sender.subscribe();
//!     sender.send("to all").unwrap();
//!     assert_eq!(one.recv().await, other.recv().await);
//!
//!     let (sender, mut receiver) = watch::channel("cold");
//!     sender.send("hot").unwrap();
//!     receiver.changed().await.unwrap();
//!     assert_eq!(*receiver.get(), "hot");
//! });
//! ```
//!
//! A value that is made once, and a notification that is kept:
//!
//! ```
//! # heist::run(async {
//! let cell = heist::sync::OnceCell::new();
//! assert_eq!(cell.get_or_init(async || 1).await, &1);
//! assert_eq!(cell.get_or_init(async || 2).await, &1);
//!
//! let notify = heist::sync::Notify::new();
//! notify.notify_one();
//! notify.notified().await;
//! # });
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
    Barrier, BrokenBarrier, Closed, Condvar, Event, Fifo, Lifo, LifoQueue, Mutex, MutexGuard,
    Notify, OnceCell, OrderedQueue, OverRelease, OwnedMutexGuard, OwnedPermit,
    OwnedRwLockReadGuard, OwnedRwLockWriteGuard, Permit, Priority, PriorityQueue, Queue, RwLock,
    RwLockReadGuard, RwLockWriteGuard, Semaphore, SetError, Store, TaskDoneError, TryAcquireError,
    TryGetError, TryLockError, TryPutError, broadcast, mpsc, oneshot, watch,
};
