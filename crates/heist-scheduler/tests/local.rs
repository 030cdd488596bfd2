//! Behaviour of the scheduler that runs on one thread.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use heist_core::driver::Driver;
use heist_core::future::promise;
use heist_scheduler::{Config, LocalScheduler, SystemPlatform};
use support::{FakeDriver, Flag, Readiness, bounded, meta, sleep, wait_until, yield_now};

fn local() -> (LocalScheduler, Arc<FakeDriver>) {
    let driver = Arc::new(FakeDriver::default());
    let own: Arc<dyn Driver> = driver.clone();
    let scheduler = LocalScheduler::new(
        Config::default(),
        |_| io::Result::Ok(own),
        Arc::new(SystemPlatform::new()),
    );
    (scheduler.unwrap(), driver)
}

#[test]
fn runs_futures_that_are_not_send() {
    bounded("local tasks", || {
        let (scheduler, driver) = local();
        let order = Rc::new(RefCell::new(Vec::new()));
        let seen = order.clone();
        let early = scheduler.spawn_local(async move { seen.borrow_mut().push(0) }, meta());
        let (seen, handle) = (order.clone(), scheduler.handle());
        let sum = scheduler.block_on(
            async move {
                early.await.unwrap();
                let tasks: Vec<_> = (1..4)
                    .map(|n| {
                        let (seen, driver) = (seen.clone(), driver.clone());
                        handle.spawn_local(
                            async move {
                                sleep(&driver, Duration::from_millis(n)).await;
                                seen.borrow_mut().push(n);
                                n
                            },
                            meta(),
                        )
                    })
                    .collect();
                let mut sum = 0;
                for task in tasks {
                    sum += task.await.unwrap();
                }
                sum
            },
            meta(),
        );
        assert_eq!(sum.unwrap(), 6);
        assert_eq!(*order.borrow(), [0, 1, 2, 3]);
        assert!(scheduler.shutdown(Duration::from_secs(5)).is_clean());
    });
}

#[test]
fn is_woken_by_other_threads() {
    bounded("remote wakes of a local runtime", || {
        let (scheduler, driver) = local();
        for n in 0..5_000 {
            let (sender, receiver) = promise::<u32>();
            let thread = (n % 10 == 0).then(|| {
                let (sender, gate) = (Cell::new(Some(sender)), driver.clone());
                std::thread::spawn(move || {
                    while n % 20 == 0 && !gate.is_inside() {
                        std::thread::yield_now();
                    }
                    sender.take().unwrap().set_result(n).unwrap();
                })
            });
            if thread.is_none() {
                continue;
            }
            let task = scheduler
                .handle()
                .spawn(async move { receiver.await.unwrap() }, meta());
            assert_eq!(scheduler.block_on(task, meta()).unwrap().unwrap(), n);
            thread.unwrap().join().unwrap();
        }
    });
}

#[test]
fn spawns_from_other_threads_run() {
    bounded("remote spawns on a local runtime", || {
        let (scheduler, _) = local();
        let ran = Arc::new(AtomicUsize::new(0));
        let handle = scheduler.handle();
        let count = ran.clone();
        let thread = std::thread::spawn(move || {
            for _ in 0..20_000 {
                let count = count.clone();
                handle
                    .spawn(async move { count.fetch_add(1, Relaxed) }, meta())
                    .detach();
            }
            handle.stop();
        });
        while ran.load(Relaxed) < 20_000 {
            scheduler.run_forever();
            if ran.load(Relaxed) < 20_000 {
                scheduler.handle().stop();
            }
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_nested_block_on_panics_and_says_why() {
    let (scheduler, _) = local();
    let handle = scheduler.handle();
    let outcome = scheduler.block_on(async move { handle.block_on(async {}, meta()) }, meta());
    let payload = outcome.unwrap_err().try_into_panic().unwrap();
    let message = payload.downcast_ref::<String>().cloned();
    let message = message
        .or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        })
        .unwrap();
    assert!(
        message.contains("its only thread would wait for itself"),
        "{message}"
    );
}

#[test]
fn a_root_that_yields_lets_the_others_run() {
    bounded("a yielding root", || {
        let (scheduler, driver) = local();
        let turns = Rc::new(Cell::new(0));
        let count = turns.clone();
        let other = scheduler.spawn_local(
            async move {
                loop {
                    count.set(count.get() + 1);
                    yield_now().await;
                }
            },
            meta(),
        );
        let ready = Readiness(driver.clone(), 1);
        let io = scheduler.spawn_local(ready, meta());
        driver.make_ready(1);
        let begun = Instant::now();
        scheduler
            .block_on(
                async move {
                    while !io.is_finished() {
                        yield_now().await;
                    }
                },
                meta(),
            )
            .unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert!(turns.get() > 0);
        other.abort();
        assert!(scheduler.shutdown(Duration::from_secs(5)).is_clean());
    });
}

#[test]
fn blocking_closures_and_callbacks_work() {
    bounded("blocking closures beside a local runtime", || {
        let (scheduler, _) = local();
        let handle = scheduler.handle();
        let ran = Flag::default();
        let called = ran.clone();
        handle.call_soon(move || called.raise());
        let sum = scheduler.block_on(
            async move {
                let mut sum = 0;
                for n in 0..100 {
                    sum += handle.spawn_blocking(move || n, meta()).await.unwrap();
                }
                sum
            },
            meta(),
        );
        assert_eq!(sum.unwrap(), 4950);
        assert!(ran.is_raised());
        assert!(scheduler.shutdown(Duration::from_secs(5)).is_clean());
    });
}

#[test]
fn dropping_it_ends_its_tasks_on_this_thread() {
    struct OnThisThread(std::thread::ThreadId, Rc<Cell<u32>>);
    impl Drop for OnThisThread {
        fn drop(&mut self) {
            assert_eq!(self.0, std::thread::current().id());
            self.1.set(self.1.get() + 1);
        }
    }
    bounded("dropping a local runtime", || {
        let (scheduler, driver) = local();
        let dropped = Rc::new(Cell::new(0));
        let wakers = Arc::new(std::sync::Mutex::new(Vec::new()));
        for n in 0..100 {
            let guard = OnThisThread(std::thread::current().id(), dropped.clone());
            let (driver, wakers) = (driver.clone(), wakers.clone());
            scheduler
                .spawn_local(
                    async move {
                        let _guard = guard;
                        std::future::poll_fn(|cx| {
                            wakers.lock().unwrap().push(cx.waker().clone());
                            std::task::Poll::Ready(())
                        })
                        .await;
                        if n % 2 == 0 {
                            sleep(&driver, Duration::from_secs(3600)).await;
                        }
                        std::future::pending::<()>().await;
                    },
                    meta(),
                )
                .detach();
        }
        scheduler.block_on(yield_now(), meta()).unwrap();
        // Some are woken by another thread at the very moment.
        let late = std::mem::take(&mut *wakers.lock().unwrap());
        let thread = std::thread::spawn(move || late.into_iter().for_each(std::task::Waker::wake));
        let handle = scheduler.handle();
        drop(scheduler);
        thread.join().unwrap();
        assert_eq!(dropped.get(), 100);
        assert!(handle.spawn(async {}, meta()).is_cancelled());
        wait_until("nothing is left", || handle.tasks().is_empty());
    });
}

#[test]
fn callbacks_of_the_task_itself_stay_on_its_thread_after_the_runtime() {
    bounded(
        "callbacks of a local task that outlived its runtime",
        || {
            let (scheduler, _) = local();
            let task = scheduler.spawn_local(async {}, meta());
            scheduler.block_on(yield_now(), meta()).unwrap();
            assert!(scheduler.shutdown(Duration::from_secs(5)).is_clean());
            drop(scheduler);

            let view = task.task_ref();
            let (started, is_started) = std::sync::mpsc::channel();
            let (release, is_released) = std::sync::mpsc::channel::<()>();
            let elsewhere = std::thread::spawn(move || {
                let here = std::thread::current().id();
                view.add_done_callback(move |_| {
                    assert_eq!(std::thread::current().id(), here);
                    started.send(()).unwrap();
                    is_released.recv().unwrap();
                });
            });
            is_started.recv().unwrap();
            let (ran, own) = (Rc::new(Cell::new(false)), std::thread::current().id());
            let seen = ran.clone();
            task.add_done_callback(move |_| {
                assert_eq!(std::thread::current().id(), own);
                seen.set(true);
            });
            assert!(ran.get(), "the callback waited for another thread");
            release.send(()).unwrap();
            elsewhere.join().unwrap();
        },
    );
}

#[test]
fn late_callbacks_of_a_local_task_keep_their_order() {
    bounded("late callbacks of a local task", || {
        let (scheduler, _) = local();
        let task = scheduler.spawn_local(async {}, meta());
        scheduler.block_on(yield_now(), meta()).unwrap();
        assert!(task.is_finished());
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let push = |n| {
            let order = order.clone();
            move || order.lock().unwrap().push(n)
        };
        let (one, two, three) = (push(1), push(2), push(3));
        let view = task.task_ref();
        std::thread::spawn(move || view.add_done_callback(move |_| one()))
            .join()
            .unwrap();
        task.add_done_callback(move |_| two());
        task.task_ref().add_done_callback(move |_| three());
        assert!(order.lock().unwrap().is_empty(), "a callback ran inline");
        assert!(scheduler.shutdown(Duration::from_secs(5)).is_clean());
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn callbacks_of_a_local_task_do_not_overlap_after_the_runtime() {
    bounded("nested callbacks of a local task", || {
        let (scheduler, _) = local();
        let task = scheduler.spawn_local(async {}, meta());
        scheduler.block_on(yield_now(), meta()).unwrap();
        assert!(scheduler.shutdown(Duration::from_secs(5)).is_clean());
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (outer, inner) = (order.clone(), order.clone());
        task.task_ref().add_done_callback(move |task| {
            task.add_done_callback(move |_| inner.lock().unwrap().push("inner"));
            outer.lock().unwrap().push("outer");
        });
        assert_eq!(*order.lock().unwrap(), ["outer", "inner"]);
    });
}

#[test]
fn callbacks_of_the_task_itself_are_not_removed_by_a_view() {
    bounded("removing callbacks of a local task", || {
        let (scheduler, _) = local();
        let task = scheduler.spawn_local(async {}, meta());
        let own = Rc::new(());
        let captured = own.clone();
        let id = task.add_done_callback(move |_| drop(captured));
        let anybody = task.task_ref().add_done_callback(|_| panic!("was removed"));
        let view = task.task_ref();
        std::thread::spawn(move || {
            assert!(!view.remove_done_callback(id));
            assert!(view.remove_done_callback(anybody));
        })
        .join()
        .unwrap();
        assert!(task.remove_done_callback(id));
        assert_eq!(Rc::strong_count(&own), 1);
    });
}

#[test]
fn nothing_is_left_of_a_scheduler_that_was_dropped() {
    bounded("dropping local schedulers", || {
        for shut_down in [false, true] {
            let (scheduler, driver) = local();
            let inner = scheduler.handle();
            let task = scheduler
                .block_on(
                    async move { Some(inner.spawn(async { 1 }, meta())) },
                    meta(),
                )
                .unwrap();
            if shut_down {
                assert!(scheduler.shutdown(Duration::from_secs(5)).is_clean());
            }
            drop(scheduler);
            assert_eq!(Arc::strong_count(&driver), 1);
            drop(task);
        }
    });
}
