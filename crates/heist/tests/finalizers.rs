//! Clean-up that awaits.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::future::{pending, ready};
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures_lite::future::poll_once;
use heist::runtime::ExceptionKind;
use heist::task::{Finalizers, TaskGroup, current, yield_now};
use heist::time::{sleep, timeout};
use heist::{Runtime, Task, promise};
use support::{Drops, bounded, runtime};

const NO_LIMIT: Duration = Duration::MAX;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Notes when it is dropped.
struct Noted(Log, &'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

type Told = mpsc::Receiver<(ExceptionKind, String)>;

fn listening() -> (Runtime, Told) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let runtime = Runtime::builder()
        .worker_threads(2)
        .exception_handler(move |exception| {
            let told = (exception.kind(), exception.message().to_owned());
            tell.lock().unwrap().send(told).unwrap();
        })
        .build()
        .unwrap();
    (runtime, told)
}

/// A task that has deferred `clean_up`, and waits for ever. It has begun to.
fn waiting(
    runtime: &Runtime,
    limit: Duration,
    clean_up: impl Future<Output = ()> + Send + 'static,
) -> Task<()> {
    let (begins, begun) = promise();
    let task = runtime.spawn(Finalizers::run(
        limit,
        async move |finalizers: Finalizers| {
            finalizers.defer_async(clean_up);
            begins.set_result(()).unwrap();
            pending::<()>().await;
        },
    ));
    runtime.block_on(begun).unwrap();
    task
}

#[test]
fn a_cancelled_task_is_over_after_its_finalizers_which_may_sleep() {
    bounded(|| {
        let runtime = Runtime::builder()
            .worker_threads(2)
            .virtual_time(true)
            .build()
            .unwrap();
        let cleaned = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cleaned);
        let task = waiting(&runtime, NO_LIMIT, async move {
            sleep(Duration::from_secs(3600)).await;
            flag.store(true, Ordering::Relaxed);
        });
        let result = runtime.block_on(task.cancel_and_wait());
        assert!(result.unwrap_err().is_cancelled());
        assert!(cleaned.load(Ordering::Relaxed));
    });
}

#[test]
fn the_body_goes_first_and_then_the_finalizers_the_last_one_first() {
    bounded(|| {
        let log = Log::default();
        let value =
            runtime(2).block_on(Finalizers::run(NO_LIMIT, async |finalizers: Finalizers| {
                let _body = Noted(log.clone(), "body");
                for name in ["first", "second"] {
                    let log = log.clone();
                    finalizers.defer_async(async move {
                        yield_now().await;
                        log.note(name);
                    });
                }
                assert_eq!(format!("{finalizers:?}"), "Finalizers { deferred: 2 }");
                1
            }));
        assert_eq!(value, 1);
        assert_eq!(log.take(), ["body", "second", "first"]);
    });
}

#[test]
fn requests_during_the_clean_up_wait_and_are_passed_on_after_it() {
    bounded(|| {
        let runtime = runtime(2);
        let log = Log::default();
        let (goes_on, wait) = promise();
        let (cleans, cleaning) = promise();
        let its_log = log.clone();
        let task = runtime.spawn(async move {
            let task = current();
            Finalizers::run(NO_LIMIT, async move |finalizers: Finalizers| {
                finalizers.defer_async(async move {
                    cleans.set_result(()).unwrap();
                    let () = wait.await.unwrap();
                    its_log.note("clean");
                });
            })
            .await;
            // Not reached: the request that came meanwhile is passed on.
            drop(task);
            unreachable!("the value of a cancelled run is not given");
        });
        runtime.block_on(cleaning).unwrap();
        assert!(task.cancel_with("meanwhile"));
        assert!(task.cancel());
        goes_on.set_result(()).unwrap();
        let error: heist::TaskError = runtime.block_on(task).map(|_: ()| ()).unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(log.take(), ["clean"]);
    });
}

#[test]
fn an_abort_runs_no_finalizer_and_drops_each() {
    bounded(|| {
        let runtime = runtime(2);
        let log = Log::default();
        let (dropped, ran) = (Noted(log.clone(), "dropped"), log.clone());
        let task = waiting(&runtime, NO_LIMIT, async move {
            let _dropped = dropped;
            ran.note("ran");
        });
        task.abort();
        assert!(runtime.block_on(task).unwrap_err().is_cancelled());
        runtime.shutdown(Duration::from_secs(10));
        assert_eq!(log.take(), ["dropped"]);
    });
}

#[test]
fn a_run_that_is_dropped_cleans_up_in_a_task_of_its_own() {
    bounded(|| {
        let runtime = runtime(2);
        let (done, wait) = promise();
        let late = runtime.block_on(async {
            let run = Finalizers::run(NO_LIMIT, async move |finalizers: Finalizers| {
                finalizers.defer_async(async move {
                    yield_now().await;
                    let _ = done.set_result(current().name());
                });
                pending::<()>().await;
            });
            timeout(Duration::ZERO, run).await
        });
        assert!(late.is_err());
        let name: String = runtime.block_on(wait).unwrap();
        assert!(name.starts_with("clean-up of "), "{name}");
    });
}

#[test]
fn a_finalizer_that_runs_when_its_run_is_dropped_goes_on_elsewhere() {
    bounded(|| {
        let runtime = runtime(2);
        let (log, (goes_on, wait)) = (Log::default(), promise::<()>());
        let (done, over) = promise();
        let its_log = log.clone();
        runtime.block_on(async move {
            let mut run = Box::pin(Finalizers::run(
                NO_LIMIT,
                async move |finalizers: Finalizers| {
                    finalizers.defer_async(async move {
                        its_log.note("began");
                        wait.await.unwrap();
                        its_log.note("went on");
                        done.set_result(()).unwrap();
                    });
                },
            ));
            assert!(poll_once(run.as_mut()).await.is_none());
            drop(run);
            goes_on.set_result(()).unwrap();
            over.await.unwrap();
        });
        assert_eq!(log.take(), ["began", "went on"]);
    });
}

#[test]
fn a_finalizer_that_never_ends_is_dropped_and_told_when_the_time_is_over() {
    bounded(|| {
        let (runtime, told) = listening();
        let drops = Drops::default();
        let guard = drops.guard();
        let task = waiting(&runtime, Duration::from_millis(10), async move {
            let _guard = guard;
            pending::<()>().await;
        });
        assert!(runtime.block_on(task.cancel_and_wait()).is_err());
        assert_eq!(drops.count(), 1);
        let (kind, message) = told.recv().unwrap();
        assert_eq!(kind, ExceptionKind::CleanUp);
        assert!(message.contains("not over after 10ms"), "{message}");
    });
}

#[test]
fn a_panic_of_a_finalizer_is_told_and_the_others_run() {
    bounded(|| {
        let (runtime, told) = listening();
        let log = Log::default();
        let its_log = log.clone();
        let value = runtime.block_on(Finalizers::run(NO_LIMIT, async |finalizers: Finalizers| {
            finalizers.defer_async(async move { its_log.note("other") });
            finalizers.defer_async(async { panic_any("on purpose") });
            2
        }));
        assert_eq!(value, 2);
        assert_eq!(log.take(), ["other"]);
        assert_eq!(
            told.recv().unwrap(),
            (ExceptionKind::CleanUp, "on purpose".to_owned())
        );
    });
}

#[test]
fn a_body_that_panics_is_cleaned_up_after() {
    bounded(|| {
        let runtime = runtime(2);
        let log = Log::default();
        let its_log = log.clone();
        let task: Task<()> = runtime.spawn(Finalizers::run(
            NO_LIMIT,
            async move |finalizers: Finalizers| {
                finalizers.defer_async(async move { its_log.note("clean") });
                yield_now().await;
                panic_any("on purpose")
            },
        ));
        assert!(runtime.block_on(task).unwrap_err().is_panic());
        assert_eq!(log.take(), ["clean"]);
    });
}

#[test]
fn what_is_deferred_after_the_end_runs_at_once() {
    bounded(|| {
        let runtime = runtime(2);
        runtime.block_on(async {
            let escaped =
                Finalizers::run(NO_LIMIT, async |finalizers: Finalizers| finalizers).await;
            let (done, wait) = promise();
            escaped.defer_async(async move { done.set_result(7).unwrap() });
            assert_eq!(wait.await.unwrap(), 7);
        });
    });
}

#[test]
fn finalizers_may_defer_more_and_nest() {
    bounded(|| {
        let log = Log::default();
        let run = Finalizers::run(NO_LIMIT, async |outer: Finalizers| {
            let later = log.clone();
            outer.defer_async(async move { later.note("outer") });
            let inner = Finalizers::run(NO_LIMIT, async |inner: Finalizers| {
                let later = log.clone();
                inner.defer_async(async move { later.note("inner") });
            });
            inner.await;
            log.note("between");
        });
        runtime(2).block_on(run);
        assert_eq!(log.take(), ["inner", "between", "outer"]);
    });
}

#[test]
fn to_cancel_and_wait_gives_what_a_task_that_swallows_the_request_gives() {
    bounded(|| {
        let runtime = runtime(2);
        let (begins, begun) = promise();
        let task = runtime.spawn(async move {
            begins.set_result(()).unwrap();
            match heist::task::catch_cancel(pending::<()>()).await {
                Ok(()) => 0,
                Err(_) => 42,
            }
        });
        runtime.block_on(begun).unwrap();
        assert_eq!(runtime.block_on(task.cancel_and_wait()).unwrap(), 42);
        let over = runtime.spawn(ready(1));
        assert!(matches!(
            runtime.block_on(over.cancel_and_wait()),
            Ok(1) | Err(_)
        ));
    });
}

#[test]
fn the_handler_that_is_told_of_a_clean_up_may_use_the_runtime() {
    bounded(|| {
        let (told, tell) = mpsc::channel();
        let told = Mutex::new(told);
        let runtime = Runtime::builder()
            .worker_threads(2)
            .exception_handler(move |_| {
                let handle = heist::Handle::current();
                let _entered = handle.enter();
                told.lock().unwrap().send(handle.all_tasks().len()).unwrap();
            })
            .build()
            .unwrap();
        runtime.block_on(Finalizers::run(
            Duration::from_millis(1),
            async |finalizers: Finalizers| finalizers.defer_async(pending()),
        ));
        assert!(tell.recv().unwrap() > 0);
    });
}

#[test]
fn a_clean_up_elsewhere_that_the_end_of_the_runtime_cuts_short_is_dropped_and_told() {
    bounded(|| {
        let (runtime, told) = listening();
        let drops = Drops::default();
        let guard = drops.guard();
        runtime.block_on(async {
            let run = Finalizers::run(NO_LIMIT, async move |finalizers: Finalizers| {
                finalizers.defer_async(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
                pending::<()>().await;
            });
            assert!(timeout(Duration::ZERO, run).await.is_err());
        });
        runtime.shutdown(Duration::from_millis(10));
        assert_eq!(drops.count(), 1);
        let (kind, message) = told.recv().unwrap();
        assert_eq!(kind, ExceptionKind::CleanUp);
        assert!(message.contains("cut short"), "{message}");
    });
}

#[test]
fn a_request_during_the_clean_up_waits_although_something_in_it_would_take_it() {
    bounded(|| {
        let runtime = runtime(2);
        let (cleans, cleaning) = promise();
        let (goes_on, wait) = promise::<()>();
        let log = Log::default();
        let its_log = log.clone();
        let task = waiting(&runtime, NO_LIMIT, async move {
            let group = TaskGroup::run(async move |_| {
                cleans.set_result(()).unwrap();
                wait.await?;
                Ok(())
            });
            assert!(group.await.is_ok());
            its_log.note("clean");
        });
        assert!(task.cancel());
        runtime.block_on(cleaning).unwrap();
        assert!(task.cancel());
        goes_on.set_result(()).unwrap();
        assert!(runtime.block_on(task).unwrap_err().is_cancelled());
        assert_eq!(log.take(), ["clean"]);
    });
}
