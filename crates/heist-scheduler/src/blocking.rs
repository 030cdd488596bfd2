//! Threads for closures that block.
//!
//! One queue, one mutex, and all counts inside it: variants that spread them over several locks have lost wake-ups
//! elsewhere (tokio 8056). A thread is woken, or started, only when none is on its way already; whoever takes a job and
//! leaves more behind calls the next one *before* it runs the job. So a burst of short jobs is drained by the few threads
//! that are awake, and a job that blocks never keeps the others waiting.
//!
//! # Invariants
//! * INV-1: while the queue is not empty and the runtime is not stopping, a thread is on its way, or all that there may
//!   be are awake.
//! * INV-2: `idle` counts the threads that wait and have not been called; `called` those that have been and have not
//!   taken the lock again. A thread that times out with a call outstanding takes the call.
//! * INV-3: no user code runs under the lock: jobs are run and dropped after it was given back.

pub(crate) mod models;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use heist_core::context::{self, Job, RuntimeContext};
use heist_core::error::{ExceptionContext, ExceptionKind, drop_quietly};
use heist_core::registry::Registry;
use heist_core::schedule::Schedule;
use heist_core::task::{self, Meta, Runnable, Task, TaskId, TaskRef};

use crate::config::Config;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, MutexGuard, Relaxed, mutation};
use crate::threads::Threads;

/// What a pool asks of the scheduler that it belongs to.
pub(crate) trait Host: Schedule + RuntimeContext {
    fn pool(&self) -> &Pool;
    fn threads(&self) -> &Arc<Threads>;
    fn config(&self) -> &Config;
    /// A task has ended that no worker ran.
    fn task_ended(&self);
    /// Jobs wait and no thread could be started: whoever sleeps without a limit shall set one, and try again.
    fn starved(&self);
}

/// The pool of one runtime.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    work: Condvar,
    most: usize,
    /// How long a thread waits for a job before it ends.
    keep_alive: Duration,
    /// Jobs wait and nobody comes for them, because a thread could not be started.
    starved: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Runnable>,
    /// Threads that live or are being started.
    threads: usize,
    /// Threads that wait.
    idle: usize,
    /// Threads that are on their way: woken or started, and not yet here.
    coming: usize,
    /// Of these, the ones that were woken.
    called: usize,
    started: u64,
    running: Vec<(u64, TaskRef)>,
    /// The handler knows that a thread could not be started, and none has been since.
    told: bool,
    closed: bool,
}

/// What whoever changed the state owes after the lock was given back.
#[must_use = "a job waits for the thread that is to be called"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Nobody,
    Wake,
    Start(u64),
}

impl Pool {
    pub(crate) fn new(most: usize, keep_alive: Duration) -> Self {
        Self {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            most,
            keep_alive,
            starved: AtomicBool::new(false),
        }
    }

    /// Queues a job. On a pool that is closed it is dropped, which ends its task.
    pub(crate) fn submit<H: Host>(&self, host: &Arc<H>, job: Runnable) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            drop_quietly(job);
            host.task_ended();
            return;
        }
        state.queue.push_back(job);
        let call = state.call(self.most);
        drop(state);
        self.perform(host, call);
    }

    /// Tries again to start a thread for jobs that nobody comes for.
    #[cold]
    pub(crate) fn retry<H: Host>(&self, host: &Arc<H>) {
        let mut state = self.state.lock();
        let call = state.call(self.most);
        if !matches!(call, Call::Start(_)) {
            self.starved.store(false, Relaxed);
        }
        drop(state);
        self.perform(host, call);
    }

    /// Whether jobs wait for a thread that could not be started. Somebody should [`retry`](Pool::retry) now and then.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Relaxed) // Nothing is ordered by it: who misses it looks again.
    }

    fn perform<H: Host>(&self, host: &Arc<H>, call: Call) {
        match call {
            Call::Nobody => {}
            Call::Wake => {
                self.work.notify_one();
            }
            Call::Start(number) => {
                if let Err(error) = start(host, number) {
                    self.not_started(&**host, &error);
                }
            }
        }
    }

    #[cold]
    fn not_started<H: Host>(&self, host: &H, error: &io::Error) {
        let mut state = self.state.lock();
        state.threads -= 1;
        state.coming -= 1;
        // Others have left their jobs to the thread that does not come.
        let idle = state.call_idle();
        // Threads that are left may be blocked, and for what waits here.
        let starved = state.is_waiting();
        let first = !self.starved.swap(starved, Relaxed);
        let told = !starved || std::mem::replace(&mut state.told, true);
        drop(state);
        if idle {
            self.work.notify_one();
        }
        if starved && first {
            host.starved();
        }
        if !told {
            let message =
                format!("blocking closures wait, for want of a thread to run them: {error}");
            host.report(&ExceptionContext::new(ExceptionKind::Runtime, &message));
        }
    }

    /// The loop of a pool thread.
    fn serve<H: Host>(&self, host: &Arc<H>, number: u64) {
        let mut state = self.state.lock();
        state.coming -= 1;
        state.told = false;
        self.starved.store(false, Relaxed);
        drop(state);
        while let Some((job, call)) = self.next_job(number) {
            self.perform(host, call);
            // A closure is over after one poll.
            drop(job.run());
            let ended = self.state.lock().forget(number);
            // The last handle drops the job's output, which is the user's: not under the lock.
            drop_quietly(ended);
            host.task_ended();
        }
    }

    /// Waits for a job. `None`: the thread ends.
    fn next_job(&self, number: u64) -> Option<(Runnable, Call)> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                let call = state.call(self.most);
                state.running.push((number, job.task_ref()));
                return Some((job, call));
            }
            if state.closed || !self.wait(&mut state) {
                state.threads -= 1;
                return None;
            }
        }
    }

    /// Waits for a call. `false`: for too long.
    fn wait(&self, state: &mut MutexGuard<'_, State>) -> bool {
        state.idle += 1;
        while state.called == 0 && !state.closed {
            let outcome = self.work.wait_for(state, self.keep_alive);
            let called = state.called > 0 && !mutation("call-missed");
            if outcome.timed_out() && !called && !state.closed {
                state.idle -= 1;
                return !state.queue.is_empty() && !mutation("call-missed");
            }
        }
        if state.called > 0 {
            // Whoever called has already counted it out of the idle ones.
            state.called -= 1;
            state.coming -= 1;
        } else {
            state.idle -= 1;
        }
        true
    }

    /// Threads, idle ones, and jobs that wait.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let state = self.state.lock();
        (state.threads, state.idle, state.queue.len())
    }

    /// Whether no job waits or runs but these; one that has ended runs until whoever awaits it has been told.
    pub(crate) fn is_idle(&self, but: &[TaskId]) -> bool {
        let state = self.state.lock();
        let mut running = state.running.iter();
        state.queue.is_empty() && running.all(|(_, task)| but.contains(&task.id()))
    }

    /// Jobs that are inside of their closure. One that runs callbacks is not.
    pub(crate) fn running(&self) -> Vec<TaskRef> {
        let state = self.state.lock();
        let running = state.running.iter().map(|(_, task)| task);
        running
            .filter(|task| !task.is_finished())
            .cloned()
            .collect()
    }

    /// Closures that have not returned. Where `registry` is empty all have, and what a thread is in is a destructor or a callback.
    pub(crate) fn under_way(&self, registry: &Registry) -> usize {
        if registry.is_empty() {
            0
        } else {
            self.running().len()
        }
    }

    /// Takes no more jobs, gives those that wait to the caller, who ends them, and lets the threads go.
    #[must_use = "who drops them is where the user's destructors run"]
    pub(crate) fn close(&self) -> VecDeque<Runnable> {
        let mut state = self.state.lock();
        state.closed = true;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.work.notify_all();
        queue
    }
}

impl State {
    /// Decides who is to come for the jobs in the queue, and counts it.
    fn call(&mut self, most: usize) -> Call {
        if self.call_idle() {
            Call::Wake
        } else if self.is_waiting() && self.threads < most {
            self.threads += 1;
            self.coming += 1;
            self.started += 1;
            Call::Start(self.started - 1)
        } else {
            Call::Nobody
        }
    }

    /// Whether there is a job for which nobody is on the way.
    fn is_waiting(&self) -> bool {
        !self.queue.is_empty() && self.coming == 0 && !self.closed
    }

    /// Counts one of those that wait as called, if one is needed.
    fn call_idle(&mut self) -> bool {
        let call = self.is_waiting() && self.idle > 0;
        if call {
            self.idle -= 1;
            self.called += 1;
            self.coming += 1;
        }
        call
    }

    fn forget(&mut self, number: u64) -> Option<TaskRef> {
        let at = self
            .running
            .iter()
            .position(|(other, _)| *other == number)?;
        Some(self.running.swap_remove(at).1)
    }
}

/// Runs a closure of `host`'s on a thread that may block.
pub(crate) fn spawn<H, F, T>(host: &Arc<H>, f: F, meta: Meta) -> Task<T>
where
    H: Host,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    task::spawn_blocking(host, f, meta, |job| host.pool().submit(host, job))
}

/// The same for a job that nobody waits for. Gives it back if the runtime is gone, or takes no more work.
pub(crate) fn call<H: Host>(host: Option<Arc<H>>, job: Job) -> Result<(), Job> {
    match host {
        Some(host) if !host.registry().is_closed() => {
            spawn(&host, job, Meta::caller()).detach();
            Ok(())
        }
        _ => Err(job),
    }
}

fn start<H: Host>(host: &Arc<H>, number: u64) -> io::Result<()> {
    let name = format!("{}-blocking-{number}", host.config().thread_name);
    let body = {
        let host = Arc::clone(host);
        move || {
            let entered = context::enter(host.context());
            host.pool().serve(&host, number);
            drop(entered);
        }
    };
    host.threads().start(host.config(), name, body)
}

/// How long a thread waits for a job before it ends, by default.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
