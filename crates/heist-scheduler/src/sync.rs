//! The only place of this crate that names atomics, locks, threads and the deque.
//!
//! Under `cfg(loom)` everything comes from loom, or from a stand-in that is made of loom's parts and is no stronger
//! than the real thing, so that a model runs the code that ships. Under Miri only the deque is replaced: crossbeam's
//! is not clean there.

#[cfg(any(loom, miri))]
mod deque;
#[cfg(loom)]
mod lock;
#[cfg(loom)]
mod padded;

#[cfg(not(loom))]
mod imp {
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
    pub(crate) use std::thread;
    pub(crate) use std::thread::ThreadId;

    #[cfg(not(miri))]
    pub(crate) use crossbeam_deque::{Injector, Steal, Stealer, Worker as Deque};

    #[cfg(miri)]
    pub(crate) use super::deque::{Deque, Injector, Steal, Stealer};

    /// Polls between two looks at the clock, at most.
    pub(crate) const LONGEST_INTERVAL: u32 = 127;

    /// Polls from the LIFO slot in a row.
    pub(crate) const LIFO_STREAK: u32 = 3;

    /// How often a searcher goes over its victims before it gives up.
    pub(crate) const SEARCH_PASSES: u32 = 4;

    /// Tasks that a deque holds before more of them go to the injector.
    pub(crate) const LOCAL_CAPACITY: usize = 4096;

    /// Threads for the places of blocked workers.
    pub(crate) const SPARES_PER_CORE: usize = 4;

    pub(crate) use crossbeam_utils::CachePadded;

    /// Lets a bounded wait time out. In models: here it is only a wake-up.
    pub(crate) fn expire(condvar: &Condvar) {
        condvar.notify_all();
    }

    /// Runs user code and catches its panic.
    pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(f))
    }

    /// Drops `value` when the calling thread has nothing else to do any more. Returns what the caller has to drop there.
    ///
    /// Called before anything of the user's runs on the thread: std destroys thread-locals in the reverse order of their first use.
    pub(crate) fn keep_until_exit(value: Box<dyn std::any::Any>) -> Option<Box<dyn std::any::Any>> {
        thread_local! {
            static LAST: std::cell::Cell<Option<Box<dyn std::any::Any>>> = const { std::cell::Cell::new(None) };
        }
        LAST.replace(Some(value))
    }

    /// Waits for a thread that has said that it is done.
    pub(crate) fn join(handle: thread::JoinHandle<()>) {
        // Its panic has been reported by the panic hook.
        let _ = handle.join();
    }

    /// Whether a model asked for the named defect. Never, outside of models.
    #[inline(always)]
    pub(crate) const fn mutation(_name: &str) -> bool {
        false
    }

    /// How many threads can run at once.
    pub(crate) fn parallelism() -> usize {
        thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }

    /// Tells the processor that this is a wait.
    pub(crate) fn spin(turns: u32) {
        for _ in 0..turns {
            std::hint::spin_loop();
        }
    }

    /// The process that this is: a forked child is another one.
    pub(crate) fn process() -> u32 {
        std::process::id()
    }

    /// The time.
    pub(crate) fn now() -> std::time::Instant {
        std::time::Instant::now()
    }

    /// Whether a thread of its own looks after the workers. Not where time stands still.
    pub(crate) const HAS_MONITOR: bool = true;

    #[cfg(miri)]
    pub(crate) fn thread_folder() -> Option<String> {
        None
    }

    /// Where the system tells what the calling thread does.
    #[cfg(not(miri))]
    pub(crate) fn thread_folder() -> Option<String> {
        let folder = std::fs::read_link("/proc/thread-self").ok()?;
        Some(format!("/proc/{}", folder.to_str()?))
    }

    /// Something that differs from run to run.
    pub(crate) fn random_key() -> u64 {
        use std::hash::BuildHasher as _;
        std::collections::hash_map::RandomState::new().hash_one(0_u64)
    }

    /// Sleeps until this thread is unparked, for at most `limit`.
    pub(crate) fn park(limit: Option<std::time::Duration>) {
        match limit {
            None => thread::park(),
            Some(limit) => thread::park_timeout(limit),
        }
    }
}

#[cfg(loom)]
mod imp {
    pub(crate) use super::deque::{Deque, Injector, Steal, Stealer};
    pub(crate) use super::lock::{Condvar, Mutex, MutexGuard, expire};
    pub(crate) use super::padded::CachePadded;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence,
    };
    pub(crate) use loom::thread;
    pub(crate) use loom::thread::ThreadId;

    // Small, so that models reach the paths behind them.
    pub(crate) const LONGEST_INTERVAL: u32 = 2;
    pub(crate) const LIFO_STREAK: u32 = 1;
    pub(crate) const SEARCH_PASSES: u32 = 1;
    pub(crate) const LOCAL_CAPACITY: usize = 4;
    pub(crate) const SPARES_PER_CORE: usize = 1;

    // Not loom's: one choice holds for all executions of a model.
    static MUTATION: std::sync::OnceLock<String> = std::sync::OnceLock::new();

    /// Plants the named defect in every model of this process that runs from now on.
    pub fn set_mutation(name: &str) {
        let _ = MUTATION.set(name.to_owned());
    }

    // A thread of loom's shares std's thread-locals with the others.
    pub(crate) fn keep_until_exit(value: Box<dyn std::any::Any>) -> Option<Box<dyn std::any::Any>> {
        Some(value)
    }

    // To loom an unpark of a thread that joins another one is the end of that, and there may be one on its way.
    pub(crate) fn join(_: thread::JoinHandle<()>) {}

    pub(crate) fn mutation(name: &str) -> bool {
        MUTATION.get().is_some_and(|planted| planted == name)
    }

    pub(crate) fn parallelism() -> usize {
        1
    }

    pub(crate) fn spin(_turns: u32) {
        thread::yield_now();
    }

    // Time stands still in a model, and nothing is random: its executions must be the same each time.
    pub(crate) fn now() -> std::time::Instant {
        static NOW: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        *NOW.get_or_init(std::time::Instant::now)
    }

    pub(crate) fn random_key() -> u64 {
        0
    }

    pub(crate) fn process() -> u32 {
        0
    }

    pub(crate) const HAS_MONITOR: bool = false;

    pub(crate) fn thread_folder() -> Option<String> {
        None
    }

    pub(crate) fn park(_limit: Option<std::time::Duration>) {
        thread::park();
    }

    /// Runs user code, whose panic fails the model, as a fault that loom finds in it does.
    pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
        Ok(f())
    }
}

pub(crate) use imp::*;
pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
// Not loom's: the contract of core hands runtimes, drivers and parkers over as trait objects in std's `Arc`.
pub(crate) use std::sync::{Arc, Weak};

#[cfg(loom)]
pub use imp::set_mutation;

/// A full barrier, unless a model planted the defect `name`.
///
/// The two ends of "I write A then read B, you write B then read A" each have one.
#[inline(always)]
pub(crate) fn full_fence(name: &str) {
    if !mutation(name) {
        // One of two fences comes first in the order of all of them, so of two threads that
        // each write, fence and read what the other one wrote, at least one sees the other's write. Callers name the
        // pair with a tag of their own.
        fence(SeqCst);
    }
}
