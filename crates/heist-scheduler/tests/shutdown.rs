//! How runtimes end, and what they report.

mod support;

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use heist_scheduler::{Config, ConfigError, Scheduler, SystemPlatform};
use support::{
    FakeDriver, Flag, bounded, meta, sleep, start, start_with, stop, wait_until, yield_now,
};

struct CountsDrop(Arc<AtomicUsize>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn what_is_left_is_cancelled_and_dropped() {
    bounded("shutdown with pending tasks", || {
        for workers in [1, 4] {
            let (scheduler, driver) = start(workers);
            let dropped = Arc::new(AtomicUsize::new(0));
            let mut tasks = Vec::new();
            for n in 0..1000 {
                let (guard, driver) = (CountsDrop(dropped.clone()), driver.clone());
                tasks.push(scheduler.spawn(
                    async move {
                        let _guard = guard;
                        match n % 3 {
                            0 => std::future::pending().await,
                            1 => sleep(&driver, Duration::from_secs(3600)).await,
                            _ => loop {
                                yield_now().await;
                            },
                        }
                    },
                    meta(),
                ));
            }
            stop(&scheduler);
            assert_eq!(dropped.load(Relaxed), 1000);
            assert!(tasks.iter().all(heist_core::task::Task::is_cancelled));
            let late = scheduler.spawn(async { unreachable!() }, meta());
            assert!(late.is_finished());
        }
    });
}

#[test]
fn spawns_that_race_with_shutdown_end() {
    bounded("spawns racing with shutdown", || {
        for _ in 0..50 {
            let (scheduler, _) = start(2);
            let alive = Arc::new(AtomicUsize::new(0));
            let dropped = Arc::new(AtomicUsize::new(0));
            let spawners: Vec<_> = (0..3)
                .map(|_| {
                    let (own, alive, dropped) = (scheduler.clone(), alive.clone(), dropped.clone());
                    std::thread::spawn(move || {
                        for _ in 0..200 {
                            alive.fetch_add(1, Relaxed);
                            let guard = CountsDrop(dropped.clone());
                            own.spawn(
                                async move {
                                    let _guard = guard;
                                    std::future::pending::<()>().await;
                                },
                                meta(),
                            )
                            .detach();
                        }
                    })
                })
                .collect();
            stop(&scheduler);
            spawners
                .into_iter()
                .for_each(|spawner| spawner.join().unwrap());
            wait_until("every body is dropped", || {
                alive.load(Relaxed) == dropped.load(Relaxed)
            });
        }
    });
}

#[test]
fn a_stuck_blocking_closure_is_reported() {
    bounded("shutdown beside a stuck closure", || {
        let (scheduler, _) = start(2);
        let (entered, gate) = (Flag::default(), Flag::default());
        let (inside, end) = (entered.clone(), gate.clone());
        let (meta, line) = (meta_here(), line!());
        let stuck = scheduler.spawn_blocking(
            move || {
                inside.raise();
                end.wait("the test ends")
            },
            meta,
        );
        let id = stuck.id();
        entered.wait("the closure runs");
        let begun = Instant::now();
        let report = scheduler.shutdown(Duration::from_millis(100));
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(report.blocking.len(), 1, "{report:?}");
        assert_eq!(report.blocking[0].id(), id);
        assert_eq!(report.blocking[0].spawn_location().line(), line);
        assert!(report.tasks.is_empty(), "{report:?}");
        assert_eq!(report.threads.len(), 1, "{report:?}");
        gate.raise();
        wait_until("the closure ends", || stuck.is_finished());
    });
}

#[test]
fn callbacks_of_what_has_just_ended_run_before_shutdown_returns() {
    bounded("shutdown beside callbacks", || {
        for blocking in [false, true] {
            let (scheduler, _) = start(2);
            let (entered, gate, ran) = (Flag::default(), Flag::default(), Flag::default());
            let end = gate.clone();
            let body = move || end.wait("the callback is there");
            let task = if blocking {
                scheduler.spawn_blocking(body, meta())
            } else {
                scheduler.spawn(async move { body() }, meta())
            };
            let (inside, done, own) = (entered.clone(), ran.clone(), scheduler.clone());
            task.add_done_callback(move |_| {
                inside.raise();
                wait_until("shutdown has begun", || own.is_closed());
                // For longer than shutdown needs if it forgets about this.
                (0..10_000).for_each(|_| std::thread::yield_now());
                done.raise();
            });
            gate.raise();
            entered.wait("the callback runs");
            let report = scheduler.shutdown(Duration::from_secs(50));
            assert!(ran.is_raised(), "{report:?}");
            assert!(report.is_clean(), "{report:?}");
        }
    });
}

#[track_caller]
fn meta_here() -> heist_core::task::Meta {
    heist_core::task::Meta::caller()
}

#[test]
fn a_stuck_poll_is_reported_and_its_body_dropped_when_it_returns() {
    bounded("shutdown beside a stuck poll", || {
        let (scheduler, _) = start(1);
        let (entered, gate) = (Flag::default(), Flag::default());
        let dropped = Arc::new(AtomicUsize::new(0));
        let guard = CountsDrop(dropped.clone());
        let (inside, end) = (entered.clone(), gate.clone());
        let task = scheduler.spawn(
            async move {
                let _guard = guard;
                inside.raise();
                end.wait("the test ends");
                std::future::pending::<()>().await;
            },
            meta(),
        );
        entered.wait("the task runs");
        let behind = scheduler.spawn(
            async { unreachable!("nothing runs after shutdown") },
            meta(),
        );
        let begun = Instant::now();
        let report = scheduler.shutdown(Duration::from_millis(50));
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(report.tasks.len(), 1, "{report:?}");
        assert_eq!(report.tasks[0].id(), task.id());
        assert_eq!(report.threads, ["heist-worker-0"]);
        assert!(behind.is_cancelled());
        gate.raise();
        wait_until("the stuck body is dropped", || dropped.load(Relaxed) == 1);
    });
}

#[test]
fn shutdown_inside_of_a_task_waits_for_nothing_and_lists_the_caller() {
    bounded("shutdown from inside", || {
        let (scheduler, _) = start(2);
        let own = scheduler.clone();
        let reported = Arc::new(Mutex::new(None));
        let report = reported.clone();
        let task = scheduler.spawn(
            async move {
                *report.lock().unwrap() = Some(own.shutdown(Duration::from_secs(5)));
            },
            meta(),
        );
        wait_until("the task ends", || task.is_finished());
        let report = reported.lock().unwrap().take().unwrap();
        assert!(
            report.tasks.iter().any(|left| left.id() == task.id()),
            "{report:?}"
        );
        // The second call waits for the first to be over.
        let second = scheduler.shutdown(Duration::from_secs(20));
        assert!(second.is_clean(), "{second:?}");
    });
}

#[test]
fn a_root_is_cancelled_by_shutdown() {
    bounded("shutdown beside a root", || {
        let (scheduler, _) = start(1);
        let own = scheduler.clone();
        let started = Flag::default();
        let begun = started.clone();
        let thread = std::thread::spawn(move || {
            own.block_on(
                async move {
                    begun.raise();
                    std::future::pending::<()>().await;
                },
                meta(),
            )
        });
        started.wait("the root runs");
        stop(&scheduler);
        assert!(thread.join().unwrap().unwrap_err().is_cancelled());
        let late = scheduler.block_on(async {}, meta());
        assert!(late.unwrap_err().is_runtime_gone());
    });
}

#[test]
fn queued_blocking_closures_do_not_start_after_shutdown() {
    bounded("shutdown beside queued closures", || {
        let (scheduler, _) = start_with(1, |config| config.max_blocking_threads = 1);
        let (entered, gate) = (Flag::default(), Flag::default());
        let (inside, end) = (entered.clone(), gate.clone());
        scheduler
            .spawn_blocking(
                move || {
                    inside.raise();
                    end.wait("the test ends")
                },
                meta(),
            )
            .detach();
        entered.wait("the first closure runs");
        let queued: Vec<_> = (0..100)
            .map(|_| {
                scheduler.spawn_blocking(
                    || unreachable!("it was cancelled before it started"),
                    meta(),
                )
            })
            .collect();
        let report = scheduler.shutdown(Duration::from_millis(20));
        assert_eq!(report.blocking.len(), 1, "{report:?}");
        assert!(queued.iter().all(heist_core::task::Task::is_cancelled));
        gate.raise();
    });
}

#[test]
fn blocking_closures_run_in_parallel_up_to_the_limit() {
    bounded("the blocking pool", || {
        let (scheduler, _) = start_with(1, |config| config.max_blocking_threads = 8);
        let meeting = Arc::new(std::sync::Barrier::new(8));
        for _ in 0..20 {
            let jobs: Vec<_> = (0..8)
                .map(|_| {
                    let meeting = meeting.clone();
                    scheduler.spawn_blocking(move || meeting.wait().is_leader(), meta())
                })
                .collect();
            let mut leaders = 0;
            for job in jobs {
                leaders += usize::from(scheduler.block_on(job, meta()).unwrap().unwrap());
            }
            assert_eq!(leaders, 1);
        }
        let total = Arc::new(AtomicUsize::new(0));
        let jobs: Vec<_> = (0..10_000)
            .map(|_| {
                let total = total.clone();
                scheduler.spawn_blocking(move || total.fetch_add(1, Relaxed), meta())
            })
            .collect();
        for job in jobs {
            scheduler.block_on(job, meta()).unwrap().unwrap();
        }
        assert_eq!(total.load(Relaxed), 10_000);
        assert!(scheduler.metrics().blocking_threads <= 8);
        stop(&scheduler);
    });
}

#[test]
fn hooks_run_on_each_thread_and_may_panic() {
    bounded("thread hooks", || {
        let (starts, stops) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let reports = Arc::new(AtomicUsize::new(0));
        let (started, stopped, reported) = (starts.clone(), stops.clone(), reports.clone());
        let (scheduler, _) = start_with(3, move |config| {
            config.thread_name = "hooked".into();
            config.on_thread_start = Some(Arc::new(move || {
                started.fetch_add(1, Relaxed);
                panic!("a hook that panics");
            }));
            config.on_thread_stop = Some(Arc::new(move || {
                stopped.fetch_add(1, Relaxed);
            }));
            config.exception_handler = Some(Arc::new(move |_| {
                reported.fetch_add(1, Relaxed);
                panic!("a handler that panics");
            }));
        });
        let name = scheduler.spawn(
            async { std::thread::current().name().map(str::to_owned) },
            meta(),
        );
        let name = scheduler.block_on(name, meta()).unwrap().unwrap().unwrap();
        assert!(name.starts_with("hooked-"), "{name}");
        stop(&scheduler);
        assert_eq!(
            (
                starts.load(Relaxed),
                stops.load(Relaxed),
                reports.load(Relaxed)
            ),
            (3, 3, 3)
        );
    });
}

#[test]
fn values_out_of_range_are_refused() {
    let mut config = Config::default();
    config.worker_threads = 0;
    let driver = Arc::new(FakeDriver::default());
    let error =
        Scheduler::start(config, |_| Ok(driver as _), Arc::new(SystemPlatform::new())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let error = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ConfigError>())
        .unwrap();
    assert_eq!(
        (error.field(), error.value(), error.range()),
        ("worker_threads", "0", "from 1 to 1024")
    );
}

#[test]
fn the_scheduler_is_freed() {
    bounded("no cycle is left", || {
        let (scheduler, driver) = start(2);
        let weak = Arc::downgrade(&driver);
        let own = scheduler.clone();
        scheduler
            .block_on(scheduler.spawn(async move { drop(own) }, meta()), meta())
            .unwrap()
            .unwrap();
        stop(&scheduler);
        drop((scheduler, driver));
        wait_until("the driver is freed with its scheduler", || {
            weak.strong_count() == 0
        });
    });
}

#[test]
fn a_thread_that_is_stuck_on_its_way_out_is_reported() {
    bounded("shutdown beside a stuck hook", || {
        let gate = Flag::default();
        let end = gate.clone();
        let (scheduler, _) = start_with(2, move |config| {
            config.on_thread_stop = Some(Arc::new(move || end.wait("the test ends")));
        });
        let report = scheduler.shutdown(Duration::from_millis(10));
        assert_eq!(report.threads, ["heist-worker-0", "heist-worker-1"]);
        assert!(report.elapsed < Duration::from_secs(5), "{report:?}");
        gate.raise();
    });
    bounded("shutdown beside a stuck destructor", || {
        for blocking in [false, true] {
            let gate = Flag::default();
            let stuck = StuckAtExit(gate.clone());
            let (scheduler, _) = start(1);
            let keep = move || KEPT.set(Some(stuck));
            let kept = if blocking {
                scheduler.spawn_blocking(keep, meta())
            } else {
                scheduler.spawn(async move { keep() }, meta())
            };
            scheduler.block_on(kept, meta()).unwrap().unwrap();
            let report = scheduler.shutdown(Duration::from_millis(10));
            let name = ["heist-worker-0", "heist-worker-blocking-0"][usize::from(blocking)];
            assert_eq!(report.threads, [name], "{report:?}");
            assert!(report.elapsed < Duration::from_secs(5), "{report:?}");
            gate.raise();
            wait_until("the thread is over", || {
                scheduler.shutdown(Duration::ZERO).is_clean()
            });
        }
    });
}

thread_local! {
    static KEPT: Cell<Option<StuckAtExit>> = const { Cell::new(None) };
}

struct StuckAtExit(Flag);

impl Drop for StuckAtExit {
    fn drop(&mut self) {
        self.0.wait("the test ends");
    }
}
