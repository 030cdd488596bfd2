//! How a runtime ends.
//!
//! 1. Nothing is accepted any more: the registry is closed.
//! 2. All that is left is asked to cancel: tasks, roots, blocking closures that have not started.
//! 3. It runs until it has ended, clean-up included, or the grace is over. A worker that runs out of work, a pool thread
//!    and a root that ends look whether the registry is empty, and signal the gate on which shutdown waits.
//! 4. What is left then is aborted. Workers empty all queues, which ends it, and their threads end.
//! 5. The driver is shut down, which wakes whatever still waits in it.
//! 6. Threads that are done are joined. Those that are not are stuck in user code (a poll, a closure, a hook, a destructor
//!    of a thread-local): they are named in the report and left behind. When the poll returns, its thread ends its task,
//!    empties the queues once more and goes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use heist_core::context::{self, RuntimeContext};
use heist_core::error::{ExceptionContext, ExceptionKind, guarded};
use heist_core::registry::Registry;
use heist_core::schedule::with_local;
use heist_core::task::{TaskId, TaskRef};

use crate::blocking::Pool;
use crate::config::Config;
use crate::shared::{CLOSING, STOPPING, Shared};
use crate::sync::{Arc, full_fence, thread};
use crate::threads::Threads;

/// What a shutdown left behind.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Tasks and roots that had not ended when the grace was over. Most of them were aborted then, and are gone.
    pub tasks: Vec<TaskRef>,
    /// Blocking closures that have not returned.
    pub blocking: Vec<TaskRef>,
    /// Threads that are still inside of one of them, of a hook, or of a destructor of a thread-local.
    pub threads: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

impl ShutdownReport {
    /// `left`: what outlived the grace; most of it has been dropped by now.
    pub(crate) fn new(
        registry: &Registry,
        pool: &Pool,
        threads: &Threads,
        left: Vec<TaskRef>,
        elapsed: impl FnOnce() -> Duration,
    ) -> Self {
        let blocking = pool.running();
        let mut seen: HashSet<TaskId> = blocking.iter().map(TaskRef::id).collect();
        let mut tasks = left;
        tasks.retain(|task| seen.insert(task.id()));
        registry.for_each(|task| {
            if !task.is_finished() && seen.insert(task.id()) {
                tasks.push(task);
            }
        });
        Self {
            tasks,
            blocking,
            threads: threads.names(),
            elapsed: elapsed(),
        }
    }

    /// Whether nothing was left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.tasks.is_empty() && self.blocking.is_empty() && self.threads.is_empty()
    }
}

/// Ends the runtime. Called again, it waits for the first call to be over, for at most `grace`.
pub(crate) fn shutdown(shared: &Arc<Shared>, grace: Duration) -> ShutdownReport {
    let begun = shared.platform.now();
    let deadline = begun.checked_add(grace);
    if shared.is_inherited() {
        // Nobody is here who could end it, and its locks may be held for ever.
        return ShutdownReport {
            tasks: shared.registry.tasks(),
            ..ShutdownReport::default()
        };
    }
    let first = begin(shared);
    let mut left = Vec::new();
    if is_inside(shared) {
        if first {
            finish_elsewhere(shared, deadline);
        }
    } else if first {
        left = finish(shared, deadline);
    } else {
        shared
            .threads
            .gate
            .wait(&*shared.platform, deadline, || shared.is_finished());
    }
    report(shared, begun, left)
}

/// What a runtime with nothing in it needs to end: its threads.
pub(crate) fn undo_start(shared: &Arc<Shared>) {
    begin(shared);
    let deadline = shared.platform.now() + LAST_ROUND;
    drop(finish(shared, Some(deadline)));
}

/// Steps 1 and 2. `false`: somebody has done them.
fn begin(shared: &Arc<Shared>) -> bool {
    if !shared.start_shutdown() {
        return false;
    }
    shared.registry.close();
    shared.enter_phase(CLOSING);
    shared.registry.for_each(|task| {
        task.cancel_at_the_end(REASON);
    });
    true
}

/// Steps 3 to 6. `None`: there is no end of the grace. Returns what had not ended when it was over.
fn finish(shared: &Arc<Shared>, deadline: Option<Instant>) -> Vec<TaskRef> {
    // For what is dropped on this thread: its panics, and what it spawns, are this runtime's.
    let _entered = context::enter(Arc::clone(shared) as _);
    let gate = &shared.threads.gate;
    gate.wait(&*shared.platform, deadline, || {
        // ORDERING(empty-dekker): pairs with `check_empty`.
        full_fence("empty-fence");
        shared.registry.is_empty()
    });
    let left = outlived(&shared.registry);
    stop(shared);
    wait_for_threads(shared, deadline);
    guarded(ExceptionKind::Waker, Some(&**shared), || {
        shared.driver.shut_down();
    });
    shared.take_seats();
    shared.threads.join_ended();
    shared.finish_shutdown();
    shared.registry.release();
    left
}

/// What has taken the request and goes on. (Where it was not delivered, there was no thread to do that: `report` tells.)
pub(crate) fn outlived(registry: &Registry) -> Vec<TaskRef> {
    let mut left = registry.tasks();
    left.retain(|task| !task.is_cancel_pending());
    left
}

fn stop(shared: &Arc<Shared>) {
    shared.registry.for_each(|task| {
        task.abort();
    });
    shared.sleep.close();
    // Closures that have not begun end where everything ends that is queued.
    for job in shared.pool.close() {
        job.task_ref().abort();
        shared.injector.push(job);
    }
    shared.enter_phase(STOPPING);
}

/// Waits for threads that are not known to be stuck: for the rest of the grace, since they may be inside of callbacks, and
/// then as long as tasks go on ending, or threads are missing that are in nobody's code and only want a processor.
fn wait_for_threads(shared: &Shared, deadline: Option<Instant>) {
    let mut rounds = MOST_ROUNDS;
    loop {
        let before = shared.registry.len();
        let last = shared.platform.now() + LAST_ROUND;
        let limit = deadline.map(|deadline| deadline.max(last));
        let ended = shared.threads.gate.wait(&*shared.platform, limit, || {
            shared.threads.running() <= shared.pool.under_way(&shared.registry)
        });
        if ended {
            return;
        }
        if shared.registry.len() < before {
            continue;
        }
        rounds -= 1;
        let stuck =
            shared.pool.running().len() + shared.polls_under_way() + shared.threads.hooked();
        if rounds == 0 || shared.threads.running() <= stuck {
            return;
        }
    }
}

/// Shutdown inside of one of the runtime's own tasks waits for nothing.
fn finish_elsewhere(shared: &Arc<Shared>, deadline: Option<Instant>) {
    let own = Arc::clone(shared);
    let started = shutdown_thread(&shared.config).spawn(move || drop(finish(&own, deadline)));
    if let Err(error) = started {
        report_no_thread(shared, "what is left gets no time for its clean-up", &error);
        // Nobody is there who could wait for its end.
        stop(shared);
        guarded(ExceptionKind::Waker, Some(&**shared), || {
            shared.driver.shut_down();
        });
        shared.finish_shutdown();
    }
}

/// Has `end` end what somebody has queued who was on the way to it when the runtime ended.
#[cold]
pub(crate) fn sweep<S: Send + Sync + 'static>(shared: &Arc<S>, config: &Config, end: fn(&S)) {
    let own = Arc::clone(shared);
    // On a thread of its own: whoever queued it may hold a lock that the destructor of the future takes.
    let started = shutdown_thread(config).spawn(move || end(&own));
    if started.is_err() {
        end(shared);
    }
}

fn shutdown_thread(config: &Config) -> thread::Builder {
    thread::Builder::new().name(format!("{}-shutdown", config.thread_name))
}

fn report_no_thread(shared: &Shared, so: &str, error: &std::io::Error) {
    let message =
        format!("no thread can be started for a shutdown inside of its own runtime: {so}: {error}");
    shared.report(&ExceptionContext::new(ExceptionKind::Runtime, &message));
}

/// Whether the caller is one of those that shutdown would wait for.
fn is_inside(shared: &Shared) -> bool {
    if with_local(shared, |_| ()).is_some() || shared.threads.is_one() {
        return true;
    }
    let mut found = false;
    shared
        .registry
        .for_each(|task| found |= task.is_polled_here());
    found
}

fn report(shared: &Shared, begun: Instant, left: Vec<TaskRef>) -> ShutdownReport {
    ShutdownReport::new(
        &shared.registry,
        &shared.pool,
        &shared.threads,
        left,
        || shared.platform.now().saturating_duration_since(begun),
    )
}

/// What cancelled tasks are told.
pub(crate) const REASON: &str = "the runtime is shut down";

/// How long shutdown waits for threads after the grace, each time.
const LAST_ROUND: Duration = Duration::from_millis(100);

/// How often, at most, while nothing ends.
const MOST_ROUNDS: u32 = 10;
