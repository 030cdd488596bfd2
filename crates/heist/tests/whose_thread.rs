//! On which thread a future is polled and dropped.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::cell::Cell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, ThreadId};
use std::time::Duration;

use heist::task::{catch_cancel, current, yield_now};
use heist::{Runtime, Task, TaskError, TaskRef};
use support::bounded;

const GRACE: Duration = Duration::from_secs(9);

/// Tells on which thread it is dropped.
struct DropsOn(Sender<(ThreadId, String)>);

impl DropsOn {
    fn new() -> (Self, Receiver<(ThreadId, String)>) {
        let (sent, dropped) = channel();
        (Self(sent), dropped)
    }

    /// Uses it without giving it away.
    fn hold(&self) {}
}

impl Drop for DropsOn {
    fn drop(&mut self) {
        let here = thread::current();
        let name = here.name().unwrap_or_default().to_owned();
        let _ = self.0.send((here.id(), name));
    }
}

fn ours(workers: usize) -> Runtime {
    let builder = Runtime::builder().worker_threads(workers);
    builder.thread_name("ours").build().unwrap()
}

/// What a body does once it has begun.
#[derive(Clone, Copy, Debug)]
enum Body {
    Finishes,
    Panics,
    Waits,
    /// Until it is cancelled, and then for a turn.
    CleansUp,
    /// Whatever it is asked.
    WaitsForEver,
}

async fn body(what: Body, begun: Sender<()>, held: DropsOn) {
    let begin = || begun.send(()).unwrap();
    match what {
        Body::Finishes => begin(),
        Body::Panics => {
            begin();
            panic!("as it is told");
        }
        Body::Waits => {
            begin();
            pending::<()>().await;
        }
        Body::CleansUp | Body::WaitsForEver => loop {
            let waits = catch_cancel(async {
                begin();
                pending::<()>().await;
            });
            waits.await.unwrap_err();
            yield_now().await;
            if matches!(what, Body::CleansUp) {
                break;
            }
        },
    }
    held.hold();
}

/// How somebody else ends it.
type End = fn(&TaskRef);

const ENDS: [(Body, End); 6] = [
    (Body::Finishes, |_| ()),
    (Body::Panics, |_| ()),
    (Body::Waits, |task| assert!(task.cancel())),
    (Body::Waits, |task| assert!(task.abort())),
    (Body::CleansUp, |task| assert!(task.cancel())),
    (Body::WaitsForEver, |task| assert!(task.abort())),
];

#[test]
fn a_future_is_dropped_on_a_thread_of_its_runtime_however_it_ends() {
    bounded(|| {
        for workers in [1, 2] {
            let runtime = ours(workers);
            for (what, end) in ENDS {
                let (held, dropped) = DropsOn::new();
                let (begun, begins) = channel();
                let task = runtime.spawn(body(what, begun, held));
                begins.recv().unwrap();
                end(&task.task_ref());
                let (_, name) = dropped.recv().unwrap();
                assert!(name.starts_with("ours-"), "{what:?} on {name}");
                let _ = task.wait_blocking();
            }
        }
    });
}

#[test]
fn a_future_that_never_began_is_dropped_on_a_thread_of_its_runtime() {
    bounded(|| {
        let runtime = ours(1);
        for end in [Task::cancel, Task::abort] {
            let (busy, is_busy) = channel();
            let (release, released) = channel::<()>();
            let blocks = runtime.spawn(async move {
                busy.send(()).unwrap();
                released.recv().unwrap_err();
            });
            is_busy.recv().unwrap();
            let (held, dropped) = DropsOn::new();
            let never = runtime.spawn(async move { held.hold() });
            assert!(end(&never));
            drop(release);
            let (_, name) = dropped.recv().unwrap();
            assert!(name.starts_with("ours-"), "on {name}");
            assert!(never.wait_blocking().unwrap_err().is_cancelled());
            blocks.wait_blocking().unwrap();
        }
    });
}

#[test]
fn what_a_shutdown_ends_is_dropped_on_a_thread_of_the_runtime() {
    bounded(|| {
        for workers in [1, 2] {
            for (what, grace) in [
                (Body::Waits, GRACE),
                (Body::CleansUp, GRACE),
                (Body::WaitsForEver, Duration::from_millis(20)),
            ] {
                let runtime = ours(workers);
                let (held, dropped) = DropsOn::new();
                let (begun, begins) = channel();
                runtime.spawn(body(what, begun, held)).detach();
                begins.recv().unwrap();
                let report = runtime.shutdown(grace);
                assert!(report.elapsed < GRACE, "{report:?}");
                let (_, name) = dropped.recv().unwrap();
                assert!(name.starts_with("ours-"), "{what:?} on {name}");
            }
        }
    });
}

#[test]
fn a_root_is_dropped_by_its_caller_however_it_ends() {
    bounded(|| {
        let runtime = ours(2);
        /// Gives the runtime back if it goes on.
        type EndRoot = Box<dyn FnOnce(TaskRef, Runtime) -> Option<Runtime>>;
        let mut ends: Vec<(Body, EndRoot)> = Vec::new();
        for (what, end) in ENDS {
            ends.push((
                what,
                Box::new(move |root, runtime| {
                    end(&root);
                    Some(runtime)
                }),
            ));
        }
        for (what, grace) in [
            (Body::Waits, GRACE),
            (Body::WaitsForEver, Duration::from_millis(20)),
        ] {
            let shuts_down = move |_, runtime: Runtime| {
                runtime.shutdown(grace);
                None
            };
            ends.push((what, Box::new(shuts_down)));
        }
        let mut runtime = Some(runtime);
        for (what, end) in ends {
            let own = runtime.take().unwrap_or_else(|| ours(1));
            let handle = own.handle().clone();
            let (held, dropped) = DropsOn::new();
            let (begun, begins) = channel();
            let (tell, root) = channel();
            let caller = thread::spawn(move || {
                let root = async {
                    tell.send(current()).unwrap();
                    body(what, begun, held).await;
                };
                catch_unwind(AssertUnwindSafe(|| handle.block_on(root)))
            });
            begins.recv().unwrap();
            let id = caller.thread().id();
            runtime = end(root.recv().unwrap(), own);
            assert_eq!(dropped.recv().unwrap().0, id, "{what:?}");
            match (what, caller.join().unwrap()) {
                (Body::Finishes | Body::CleansUp, Ok(())) => {}
                (Body::Panics, Err(payload)) => assert!(payload.is::<&str>()),
                (Body::Waits | Body::WaitsForEver, Err(payload)) => {
                    // Cancelled or aborted: it unwinds with the error.
                    let error = payload.downcast::<TaskError>().unwrap();
                    assert!(error.is_cancelled(), "{error}");
                }
                (_, other) => panic!("{what:?}: {other:?}"),
            }
        }
    });
}

thread_local! {
    /// Whether this thread is inside of the `block_on` of a task.
    static BLOCKS: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn no_other_task_is_polled_inside_of_the_block_on_of_a_task() {
    const TASKS: usize = 200;
    bounded(|| {
        for workers in [1, 2] {
            let runtime = ours(workers);
            let polls = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&polls);
            let blocks = runtime.spawn(async move {
                let other = || {
                    let count = Arc::clone(&count);
                    async move {
                        for _ in 0..3 {
                            count.fetch_add(1, Ordering::SeqCst);
                            assert!(!BLOCKS.get(), "polled inside of another task's frame");
                            yield_now().await;
                        }
                    }
                };
                // One in the slot for the next task, the others in the queue; more from outside.
                let before: Vec<_> = (0..TASKS).map(|_| heist::spawn(other())).collect();
                let own = heist::Handle::current();
                let outside: Vec<_> = (0..TASKS).map(|_| other()).collect();
                let outside = thread::spawn(move || {
                    let spawn = |body| own.spawn(body);
                    outside.into_iter().map(spawn).collect::<Vec<_>>()
                });
                let here = thread::current().id();
                BLOCKS.set(true);
                heist::block_on(async {
                    assert_eq!(thread::current().id(), here);
                    for task in before.into_iter().chain(outside.join().unwrap()) {
                        task.await.unwrap();
                        assert_eq!(thread::current().id(), here);
                    }
                    heist::spawn(other()).await.unwrap();
                });
                BLOCKS.set(false);
                assert_eq!(thread::current().id(), here);
            });
            blocks.wait_blocking().unwrap();
            assert_eq!(polls.load(Ordering::SeqCst), 3 * (2 * TASKS + 1));
        }
    });
}
