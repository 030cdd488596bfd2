//! A runtime that ends from inside, and what meets its end.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use heist::task::{catch_cancel, try_current, yield_now};
use heist::{Handle, Runtime, Task, TaskError, promise};
use support::{Drops, bounded, runtime};

/// Longer than any clean-up here takes.
const GRACE: Duration = Duration::from_secs(9);

/// Calls what it has when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    fn new(f: F) -> Self {
        Self(Some(f))
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0.take().unwrap())();
    }
}

/// A runtime, and a message from each of its threads that starts (`1`) or ends (`-1`).
fn counted(workers: usize) -> (Runtime, Receiver<isize>) {
    let (start, changes) = channel();
    let stop = start.clone();
    let runtime = Runtime::builder()
        .worker_threads(workers)
        .shutdown_grace(GRACE)
        .on_thread_start(move || start.send(1).unwrap_or(()))
        .on_thread_stop(move || stop.send(-1).unwrap_or(()))
        .build()
        .unwrap();
    (runtime, changes)
}

/// Bodies that wait for their cancellation, and clean up.
struct Crowd {
    drops: Drops,
    cleaned: Arc<AtomicUsize>,
    begun: Sender<()>,
    begins: Receiver<()>,
}

impl Crowd {
    fn new() -> Self {
        let (begun, begins) = channel();
        Self {
            drops: Drops::default(),
            cleaned: Arc::default(),
            begun,
            begins,
        }
    }

    fn body(&self) -> impl Future<Output = ()> + Send + use<> {
        let (held, cleaned) = (self.drops.guard(), Arc::clone(&self.cleaned));
        let begun = self.begun.clone();
        async move {
            held.count_at_the_end();
            let waits = async {
                begun.send(()).unwrap();
                pending::<()>().await;
            };
            catch_cancel(waits).await.unwrap_err();
            yield_now().await;
            cleaned.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Until so many of them wait: one that is cancelled before has no clean-up to do.
    fn wait_for(&self, count: usize) {
        (0..count).for_each(|_| self.begins.recv().unwrap());
    }

    /// How many are gone, and how many have cleaned up.
    fn over(&self) -> (usize, usize) {
        (self.drops.count(), self.cleaned.load(Ordering::SeqCst))
    }
}

type End = Box<dyn FnOnce() + Send>;
type Place = fn(&Handle, End);

/// Everywhere in a runtime where its owner may let go of it.
const PLACES: &[(&str, Place)] = &[
    ("a task", |own, end| {
        own.spawn(async { end() }).detach();
    }),
    ("a root", |own, end| {
        own.block_on(async {
            let outcome = catch_unwind(AssertUnwindSafe(end));
            assert!(outcome.is_ok(), "the end of a runtime does not unwind");
        });
    }),
    ("a done-callback", |own, end| {
        let task = own.spawn(yield_now());
        task.add_done_callback(|_| end());
        task.detach();
    }),
    ("a call", |own, end| drop(own.call_soon(end))),
    ("a timed call", |own, end| {
        drop(own.call_later(Duration::from_millis(1), end));
    }),
    ("a blocking closure", |own, end| {
        own.spawn_blocking(end).detach();
    }),
    ("the drop of a future", |own, end| {
        let held = OnDrop::new(end);
        own.spawn(async move {
            yield_now().await;
            drop(held);
        })
        .detach();
    }),
    ("the drop of an output", |own, end| {
        let held = OnDrop::new(end);
        let (detached, is_detached) = promise();
        let body = async move {
            // By the runtime: with a handle left it would be dropped with that, on this thread.
            is_detached.await.unwrap();
            held
        };
        own.spawn(body).detach();
        detached.set_result(()).unwrap();
    }),
    #[cfg(unix)]
    ("a listener of a signal", |own, end| {
        use heist::signal::{SignalKind, signal};
        use rustix::process::{Signal, getpid, kill_process};
        let (listens, listening) = channel();
        let waits = async move {
            let mut signals = signal(SignalKind::user_defined2()).unwrap();
            listens.send(()).unwrap();
            signals.recv().await.unwrap();
            end();
            // Where the runtime has ended meanwhile, the next one does not come.
            while signals.recv().await.is_some() {}
        };
        own.spawn(waits).detach();
        listening.recv().unwrap();
        kill_process(getpid(), Signal::USR2).unwrap();
    }),
];

#[test]
fn a_runtime_that_is_dropped_inside_itself_gives_every_task_its_clean_up() {
    bounded(|| {
        for workers in [1, 2] {
            for &(place, run) in PLACES {
                let (runtime, changes) = counted(workers);
                let mut threads: isize = (0..workers).map(|_| changes.recv().unwrap()).sum();
                let crowd = Crowd::new();
                let tasks: Vec<_> = (0..20).map(|_| runtime.spawn(crowd.body())).collect();
                crowd.wait_for(20);
                let own = runtime.handle().clone();
                run(&own, Box::new(move || drop(runtime)));
                // It does not wait for itself; the last of its threads goes when all is over.
                while threads > 0 {
                    threads += changes.recv().unwrap();
                }
                assert_eq!(crowd.over(), (20, 20), "{place}, {workers} workers");
                assert!(tasks.iter().all(|task| task.is_finished()), "{place}");
                let late = own.spawn(async {}).wait_blocking().unwrap_err();
                assert!(late.is_runtime_gone(), "{place}");
            }
        }
    });
}

#[test]
fn a_runtime_that_is_shut_down_inside_itself_says_who_is_left_and_waits_for_nobody() {
    bounded(|| {
        for workers in [1, 2] {
            for &(place, run) in PLACES {
                let (runtime, changes) = counted(workers);
                let mut threads: isize = (0..workers).map(|_| changes.recv().unwrap()).sum();
                let crowd = Crowd::new();
                runtime.spawn(crowd.body()).detach();
                crowd.wait_for(1);
                let own = runtime.handle().clone();
                let (told, tells) = channel();
                let end = move || {
                    let caller = try_current().map(|task| task.id());
                    let thread = thread::current().name().unwrap().to_owned();
                    let begun = Instant::now();
                    let report = runtime.shutdown(Duration::from_secs(60));
                    told.send((report, begun.elapsed(), caller, thread))
                        .unwrap();
                };
                run(&own, Box::new(end));
                let (report, elapsed, caller, thread) = tells.recv().unwrap();
                assert!(elapsed < Duration::from_secs(1), "{place}: {elapsed:?}");
                assert!(!report.is_clean(), "{place}: {report:?}");
                let mut left = report.tasks.iter().chain(&report.blocking);
                match caller {
                    Some(id) => assert!(left.any(|task| task.id() == id), "{place}: {report:?}"),
                    // Of a task that is over nothing is left but the thread.
                    None => assert!(report.threads.contains(&thread), "{place}: {report:?}"),
                }
                while threads > 0 {
                    threads += changes.recv().unwrap();
                }
                assert_eq!(crowd.over(), (1, 1), "{place}, {workers} workers");
            }
        }
    });
}

#[test]
fn a_runtime_that_is_dropped_in_a_task_of_another_is_waited_for() {
    bounded(|| {
        let (outer, inner) = (runtime(1), runtime(2));
        let crowd = Crowd::new();
        inner.spawn(crowd.body()).detach();
        crowd.wait_for(1);
        let ends = outer.spawn(async move { inner.shutdown(GRACE) });
        let report = ends.wait_blocking().unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(crowd.over(), (1, 1));
    });
}

#[test]
fn what_is_queued_when_a_runtime_ends_is_run_or_cancelled_and_nothing_is_lost() {
    bounded(|| {
        const TASKS: usize = 100_000;
        let runtime = runtime(2);
        let gate = Arc::new(Barrier::new(3));
        for _ in 0..2 {
            let gate = Arc::clone(&gate);
            runtime.spawn(async move { _ = gate.wait() }).detach();
        }
        let (drops, ran) = (Drops::default(), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (held, ran) = (drops.guard(), Arc::clone(&ran));
                runtime.spawn(async move {
                    held.count_at_the_end();
                    ran.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        gate.wait();
        let report = runtime.shutdown(GRACE);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(drops.count(), TASKS);
        let outcomes: Vec<_> = tasks.into_iter().map(Task::wait_blocking).collect();
        let finished = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(finished, ran.load(Ordering::SeqCst));
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert!(error.is_cancelled(), "{error}");
        }
    });
}

#[test]
fn the_roots_of_other_threads_clean_up_and_end_with_the_runtime() {
    bounded(|| {
        let runtime = runtime(2);
        let crowd = Crowd::new();
        let roots: Vec<_> = (0..4)
            .map(|number| {
                let (own, body) = (runtime.handle().clone(), crowd.body());
                thread::spawn(move || {
                    let root = async {
                        body.await;
                        // Half of them do not take the hint.
                        if number % 2 == 0 {
                            pending::<()>().await;
                        }
                    };
                    catch_unwind(AssertUnwindSafe(|| own.block_on(root)))
                })
            })
            .collect();
        crowd.wait_for(4);
        let report = runtime.shutdown(Duration::from_millis(200));
        assert_eq!(report.tasks.len(), 2, "{report:?}");
        for (number, root) in roots.into_iter().enumerate() {
            match root.join().unwrap() {
                Ok(()) => assert_eq!(number % 2, 1),
                Err(payload) => {
                    let error = payload.downcast::<TaskError>().unwrap();
                    assert!(error.is_cancelled(), "{error}");
                    assert_eq!(number % 2, 0);
                }
            }
        }
        assert_eq!(crowd.over(), (4, 4));
    });
}

#[test]
fn what_is_dropped_at_the_end_may_lock_spawn_wake_and_call() {
    bounded(|| {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let own = runtime.handle().clone();
            let lock = Arc::new(Mutex::new(0));
            let (called, calls) = channel();
            let (kept, waits) = promise::<()>();
            let waits = waits.share();
            let kept = Arc::new(Mutex::new(Some(kept)));
            let (began, begins) = channel();
            for number in 0..50 {
                let (own, lock, kept) = (own.clone(), Arc::clone(&lock), Arc::clone(&kept));
                let (called, began, waits) = (called.clone(), began.clone(), waits.clone());
                let peer = own.spawn(pending::<()>()).task_ref();
                let uses = OnDrop::new(move || {
                    *lock.lock().unwrap() += 1;
                    let late = own.spawn(async {});
                    assert!(late.wait_blocking().unwrap_err().is_runtime_gone());
                    assert!(
                        own.call_soon(|| unreachable!("the runtime is closed"))
                            .is_cancelled()
                    );
                    peer.add_done_callback(move |_| called.send(number).unwrap());
                    let kept = kept.lock().unwrap().take();
                    let _ = kept.map(|kept| kept.set_result(()));
                });
                runtime
                    .spawn(async move {
                        began.send(()).unwrap();
                        let _uses = uses;
                        let _ = waits.await;
                        pending::<()>().await;
                    })
                    .detach();
            }
            drop(called);
            for _ in 0..50 {
                begins.recv().unwrap();
            }
            let report = runtime.shutdown(GRACE);
            assert!(report.is_clean(), "{report:?}");
            assert_eq!(*lock.lock().unwrap(), 50);
            let mut numbers: Vec<_> = calls.iter().collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..50).collect::<Vec<_>>());
            assert!(kept.lock().unwrap().is_none());
        }
    });
}

#[test]
fn a_clean_up_that_spawns_is_told_that_the_runtime_is_gone_and_goes_on() {
    bounded(|| {
        let runtime = runtime(1);
        let (began, begins) = channel();
        let task = runtime.spawn(async move {
            let waits = catch_cancel(async {
                began.send(()).unwrap();
                pending::<()>().await;
            });
            waits.await.unwrap_err();
            let child = heist::spawn(async { unreachable!("nothing starts any more") });
            let error: TaskError = child.await.unwrap_err();
            let job = heist::spawn_blocking(|| unreachable!("nothing starts any more"));
            let same: TaskError = job.await.unwrap_err();
            (error.is_runtime_gone(), same.is_runtime_gone())
        });
        begins.recv().unwrap();
        assert!(runtime.shutdown(GRACE).is_clean());
        assert_eq!(task.wait_blocking().unwrap(), (true, true));
    });
}
