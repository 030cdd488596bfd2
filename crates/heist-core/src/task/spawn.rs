//! How a task comes to be: in a worker's frame without a write to shared memory, elsewhere under the registry's lock.

use super::cell::{Header, Origin, Stage};
use super::handle::{LocalTask, Task};
use super::harness::{Anywhere, Blocking, BodyKind, Harness, OneThread, is_local};
use super::runnable::Runnable;
use super::state::Snapshot;
use super::{Meta, cell};
use crate::error::drop_quietly;
use crate::registry::LocalShard;
use crate::schedule::{Schedule, Why, local_of};
use crate::sync::Arc;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// Bodies above this size, in bytes, are boxed: moving them into a cell would cost more.
pub(crate) const LARGE: usize = 16 * 1024;

/// Spawns `future` on `scheduler`, from any thread.
///
/// Where the runtime is shut down, the future is dropped here, and the task is cancelled at once.
#[inline]
pub fn spawn<S, F>(scheduler: &Arc<S>, future: F, meta: Meta) -> Task<F::Output>
where
    S: Schedule,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if size_of::<F>() > LARGE {
        return spawn_any(scheduler, Box::pin(future), meta);
    }
    spawn_any(scheduler, future, meta)
}

#[inline]
fn spawn_any<S, F>(scheduler: &Arc<S>, future: F, meta: Meta) -> Task<F::Output>
where
    S: Schedule,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match make::<Anywhere, S, F>(scheduler, future, &meta) {
        Ok((header, runnable)) => {
            // SAFETY: the new cell has this output, and its `join` is ours.
            let task = unsafe { Task::from_header(header) };
            schedule(scheduler, runnable);
            task
        }
        Err(future) => {
            drop_quietly(future);
            Task::gone(meta)
        }
    }
}

/// Spawns `future` on `scheduler`, from any thread, if that takes tasks.
///
/// # Errors
///
/// Gives the future back where the runtime is shut down.
pub fn try_spawn<S, F>(scheduler: &Arc<S>, future: F, meta: Meta) -> Result<Task<F::Output>, F>
where
    S: Schedule,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (header, runnable) = make::<Anywhere, S, F>(scheduler, future, &meta)?;
    // SAFETY: the new cell has this output, and its `join` is ours.
    let task = unsafe { Task::from_header(header) };
    schedule(scheduler, runnable);
    Ok(task)
}

/// Spawns a future that is not `Send`, on the thread that runs `scheduler`.
///
/// # Panics
///
/// On any other thread, and outside of the scheduler's worker frame.
pub fn spawn_local<S, F>(scheduler: &Arc<S>, future: F, meta: Meta) -> LocalTask<F::Output>
where
    S: Schedule,
    F: Future + 'static,
    F::Output: 'static,
{
    assert!(
        is_local(scheduler),
        "spawn_local on a thread that does not run this local runtime"
    );
    match make::<OneThread, S, F>(scheduler, future, &meta) {
        Ok((header, runnable)) => {
            // SAFETY: the new cell has this output, and its `join` is ours.
            let task = unsafe { LocalTask::from_header(header) };
            schedule(scheduler, runnable);
            task
        }
        Err(future) => {
            drop_quietly(future);
            LocalTask::gone(meta)
        }
    }
}

/// Makes a task of a closure that may block, and gives its runnable to `submit`.
///
/// The task cannot be cancelled once it runs.
pub fn spawn_blocking<S, F, T>(
    scheduler: &Arc<S>,
    f: F,
    meta: Meta,
    submit: impl FnOnce(Runnable),
) -> Task<T>
where
    S: Schedule,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match make::<Blocking, S, Closure<F>>(scheduler, Closure(Some(f)), &meta) {
        Ok((header, runnable)) => {
            // SAFETY: the new cell has this output, and its `join` is ours.
            let task = unsafe { Task::from_header(header) };
            submit(runnable);
            task
        }
        Err(f) => {
            drop_quietly(f);
            Task::gone(meta)
        }
    }
}

/// A closure as a body: ready at its first poll.
struct Closure<F>(Option<F>);

impl<F> Unpin for Closure<F> {}

impl<F: FnOnce() -> T, T> Future for Closure<F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        let f = self.0.take().expect("a closure runs once");
        Poll::Ready(f())
    }
}

/// Allocates and lists a cell. Gives the body back if the registry is closed.
#[inline]
pub(crate) fn make<K, S, B>(
    scheduler: &Arc<S>,
    body: B,
    meta: &Meta,
) -> Result<(NonNull<Header>, Runnable), B>
where
    K: BodyKind,
    S: Schedule,
    B: Future,
{
    match local_of(Arc::as_ptr(scheduler)) {
        Some(local) => {
            // SAFETY: SCHED-2: the frame borrows it for longer than this call.
            let shard = S::local_shard(unsafe { &*local });
            if shard.is_closed() {
                return Err(body);
            }
            Ok(fill_slot::<K, S, B>(scheduler, shard, body, meta))
        }
        None => make_outside::<K, S, B>(scheduler, body, meta),
    }
}

fn make_outside<K, S, B>(
    scheduler: &Arc<S>,
    body: B,
    meta: &Meta,
) -> Result<(NonNull<Header>, Runnable), B>
where
    K: BodyKind,
    S: Schedule,
    B: Future,
{
    match scheduler.registry().outside() {
        Some(shard) => Ok(fill_slot::<K, S, B>(scheduler, &shard, body, meta)),
        None => Err(body),
    }
}

#[inline]
fn fill_slot<K, S, B>(
    scheduler: &Arc<S>,
    shard: &LocalShard,
    body: B,
    meta: &Meta,
) -> (NonNull<Header>, Runnable)
where
    K: BodyKind,
    S: Schedule,
    B: Future,
{
    let slot = shard.reserve();
    let origin = Origin {
        location: meta.location,
        scheduler: Arc::as_ptr(scheduler).cast(),
        vtable: Harness::<K, B, S>::VTABLE,
        state: Snapshot::SPAWNED,
        place: Some((shard, slot)),
        runtime: scheduler.registry().key(),
        born: scheduler.clock_ms(),
    };
    let stage = Stage {
        body: ManuallyDrop::new(body),
    };
    let header = cell::Cell::<B, B::Output>::allocate(origin, stage);
    if let Some(name) = &meta.name {
        // SAFETY: nobody else has seen the new cell.
        set_name(unsafe { header.as_ref() }, name);
    }
    // SAFETY: a fresh slot and a live cell; the harness takes a task out of the registry before it is over.
    unsafe { shard.publish(slot, header) };
    // SAFETY: `SPAWNED` has `sched` set, and nobody else has made the runnable.
    (header, unsafe { Runnable::from_header(header) })
}

#[cold]
fn set_name(header: &Header, name: &str) {
    header.extras_or_new().lock().name = Some(name.to_owned());
}

/// Queues a new runnable.
#[inline]
fn schedule<S: Schedule>(scheduler: &Arc<S>, runnable: Runnable) {
    match local_of(Arc::as_ptr(scheduler)) {
        // SAFETY: SCHED-2: the frame borrows it for longer than this call.
        Some(local) => scheduler.schedule_local(unsafe { &*local }, runnable, Why::Spawned),
        None => scheduler.schedule_remote(runnable, Why::Spawned),
    }
}
