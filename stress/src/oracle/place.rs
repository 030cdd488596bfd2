//! One runtime of a program, and what its shutdown says.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use heist::runtime::{ExceptionKind, ShutdownReport};
use heist::{Handle, TaskId, TaskRef};

use super::stalls::Stalls;
use super::{PLACE, World, lock, stamp};
use crate::run::micros;

/// One runtime of a program.
pub(crate) struct Place {
    pub(super) key: u64,
    pub(super) workers: usize,
    pub(super) handle: OnceLock<Handle>,
    /// The stamp of the moment before its shutdown began; 0 before.
    pub(super) closing: AtomicU64,
    /// The same by the clock.
    pub(super) closing_at: OnceLock<(Instant, Duration)>,
    /// Its shutdown has returned, and whatever is not in `reported` is over.
    pub(super) closed: AtomicBool,
    pub(super) reported: Mutex<HashSet<TaskId>>,
    /// The report names threads that have not ended: they may be in callbacks.
    pub(super) has_left_threads: AtomicBool,
    pub(crate) stalls: Stalls,
    pub(super) exceptions: Mutex<BTreeMap<u64, u32>>,
    pub(super) started: AtomicU32,
    pub(super) stopped: AtomicU32,
}

impl Place {
    pub(crate) fn handle(&self) -> &Handle {
        match self.handle.get() {
            Some(handle) => handle,
            None => unreachable!("a place is given its runtime before it is used"),
        }
    }

    pub(crate) fn open(&self, handle: Handle) {
        let _ = self.handle.set(handle);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(SeqCst) != 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// The calling thread becomes one of this runtime.
    pub(crate) fn adopt_thread(&self) {
        PLACE.set(self.key);
    }

    /// The settings by which its runtime tells what it does.
    pub(crate) fn builder(self: &Arc<Self>, world: &Arc<World>) -> heist::Builder {
        // The runtime is reached from here: it must not keep this alive in turn.
        let (begin, end, told, stalled) = (
            Arc::downgrade(self),
            Arc::downgrade(self),
            Arc::downgrade(self),
            Arc::downgrade(self),
        );
        let threshold = world.program.blocked_threshold.map(micros);
        let (world, spares) = (Arc::downgrade(world), world.program.spares);
        heist::Runtime::builder()
            .worker_threads(self.workers)
            .blocked_worker_threshold(threshold)
            .max_spare_workers(spares)
            .on_stall(move |stall| Stalls::on_stall(&world, &stalled, stall))
            .on_thread_start(move || {
                if let Some(place) = begin.upgrade() {
                    place.adopt_thread();
                    place.started.fetch_add(1, SeqCst);
                }
            })
            .on_thread_stop(move || {
                if let Some(place) = end.upgrade() {
                    place.stopped.fetch_add(1, SeqCst);
                }
            })
            .exception_handler(move |exception| {
                let Some(place) = told.upgrade() else { return };
                place.stalls.on_exception(exception);
                let lost = exception.kind() == ExceptionKind::NeverRetrieved;
                let id = exception.task().filter(|_| lost);
                if let Some((id, _)) = id {
                    *lock(&place.exceptions).entry(id.get()).or_default() += 1;
                }
            })
    }

    pub(crate) fn begin_closing(&self, grace: Duration) {
        let _ = self.closing_at.set((Instant::now(), grace));
        let _ = self.closing.compare_exchange(0, stamp(), SeqCst, SeqCst);
    }

    /// Whether its shutdown may have aborted what is left.
    pub(super) fn is_grace_over(&self) -> bool {
        let limit = |(begun, grace): &(Instant, Duration)| *begun + *grace;
        self.closing_at
            .get()
            .is_some_and(|closing| Instant::now() >= limit(closing))
    }

    /// Its shutdown has returned on a thread that is none of its own.
    pub(crate) fn close(&self, world: &World, report: Option<(&ShutdownReport, Duration)>) {
        if let Some((report, grace)) = report {
            self.check_report(world, report, grace);
            let mut reported = lock(&self.reported);
            reported.extend(report.tasks.iter().map(TaskRef::id));
            reported.extend(report.blocking.iter().map(TaskRef::id));
            drop(reported);
            let left_threads = !report.threads.is_empty();
            self.has_left_threads.store(left_threads, SeqCst);
            self.closed.store(true, SeqCst);
            let (started, stopped) = (self.started.load(SeqCst), self.stopped.load(SeqCst));
            if report.is_clean() && started != stopped {
                world.fail(&format!(
                    "after a clean shutdown {started} threads had started, {stopped} stopped"
                ));
            }
        } else {
            // A drop reports nothing: what it left is what the runtime lists now.
            let left: HashSet<TaskId> = self.handle().all_tasks().iter().map(TaskRef::id).collect();
            for record in lock(&world.records).iter() {
                let Some(id) = record.id.get() else { continue };
                if record.place.key == self.key && !left.contains(id) && !record.is_dropped() {
                    world.fail(&format!(
                        "{record:?} is alive after the drop of its runtime, which lists {left:?}"
                    ));
                }
            }
            lock(&self.reported).extend(left);
            self.has_left_threads.store(true, SeqCst);
            self.closed.store(true, SeqCst);
        }
    }

    fn check_report(&self, world: &World, report: &ShutdownReport, grace: Duration) {
        let mut listed = HashSet::new();
        for task in report.tasks.iter().chain(&report.blocking) {
            if !listed.insert(task.id()) {
                world.fail(&format!("the report lists {task:?} twice: {report:?}"));
            }
        }
        for record in lock(&world.records).iter() {
            let Some(id) = record.id.get() else { continue };
            if record.place.key != self.key || listed.contains(id) {
                continue;
            }
            if !record.is_dropped() {
                world.fail(&format!(
                    "{record:?} is alive and not in the report {report:?}"
                ));
            }
            let deadline = self.closing_at.get().map(|(begun, _)| *begun + grace);
            if deadline.is_some_and(|deadline| record.was_given_up(deadline)) {
                world.fail(&format!(
                    "{record:?} outlived the grace and is not in the report {report:?}"
                ));
            }
        }
        if report.elapsed < grace && !report.tasks.is_empty() {
            world.fail(&format!("tasks given up before {grace:?}: {report:?}"));
        }
        if report.elapsed > grace + Duration::from_secs(8) {
            world.fail(&format!(
                "a shutdown of {grace:?} took too long: {report:?}"
            ));
        }
    }
}
