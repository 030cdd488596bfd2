//! Tasks that block their workers, and everybody else.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "support/blocks.rs"]
mod blocks;
#[cfg(target_os = "linux")]
#[path = "support/proc.rs"]
mod proc;
mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use blocks::{Gate, PATIENCE, block, heard};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::net::{TcpListener, TcpStream};
use heist::task::{block_in_place, yield_now};
use heist::time::sleep;
use heist::{Runtime, promise};
use support::{bounded, bounded_by, runtime};

#[test]
fn spawns_timers_and_io_go_on_while_every_worker_is_blocked() {
    for workers in [1, 2, 4] {
        bounded(move || {
            let runtime = runtime(workers);
            let (mut near, mut far) = runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap());
                (near.await.unwrap(), listener.accept().await.unwrap().0)
            });
            let (tell, told) = channel();
            let echo = tell.clone();
            runtime.spawn(async move {
                let mut byte = [0];
                far.read_exact(&mut byte).await.unwrap();
                far.write_all(&byte).await.unwrap();
                echo.send("echo").unwrap();
            });
            let nap = tell.clone();
            let begun = Arc::new(AtomicBool::new(false));
            let may_end = Arc::clone(&begun);
            runtime.spawn(async move {
                while !may_end.load(SeqCst) {
                    sleep(Duration::from_millis(1)).await;
                }
                nap.send("sleep").unwrap();
            });
            let gate = Gate::new();
            let blocked = block(&runtime, workers, &gate);
            begun.store(true, SeqCst);
            assert_eq!(heard(&told, "a timer fires"), "sleep");
            runtime.spawn(async move { tell.send("spawn").unwrap() });
            assert_eq!(heard(&told, "a spawned task runs"), "spawn");
            futures_lite::future::block_on(near.write_all(b"x")).unwrap();
            assert_eq!(heard(&told, "a socket is served"), "echo");
            assert!(blocked.iter().all(|task| !task.is_finished()));
            gate.open();
            blocked
                .into_iter()
                .for_each(|task| runtime.block_on(task).unwrap());
        });
    }
}

/// Whoever stood in goes when the blocked ones are back, so that caches and the allocator's arenas stay those of few threads.
#[test]
fn work_comes_back_to_the_threads_that_a_runtime_began_with() {
    for workers in [1, 2] {
        bounded(move || {
            let runtime = runtime(workers);
            let thread_of_a_task = || {
                let task = runtime.spawn(async { thread::current().name().map(str::to_owned) });
                runtime.block_on(task).unwrap().unwrap()
            };
            let gate = Gate::new();
            let blocked = block(&runtime, workers, &gate);
            let first: Vec<_> = (0..workers)
                .map(|at| format!("heist-worker-{at}"))
                .collect();
            assert!(!first.contains(&thread_of_a_task()), "it is blocked");
            gate.open();
            for task in blocked {
                runtime.block_on(task).unwrap();
            }
            let deadline = Instant::now() + PATIENCE;
            while !(0..64).all(|_| first.contains(&thread_of_a_task())) {
                assert!(Instant::now() < deadline, "others serve still");
                thread::yield_now();
            }
        });
    }
}

/// Of tasks that block for a time, again and again, as many as there are workers.
#[test]
fn a_heartbeat_does_not_wait_for_tasks_that_block_again_and_again() {
    const BLOCKED_FOR: Duration = Duration::from_millis(400);
    for (workers, tasks) in [(1, 1), (2, 2), (2, 5)] {
        bounded(move || {
            let runtime = runtime(workers);
            let over = Arc::new(AtomicBool::new(false));
            let blockers: Vec<_> = (0..tasks)
                .map(|_| {
                    let over = Arc::clone(&over);
                    runtime.spawn(async move {
                        while !over.load(SeqCst) {
                            thread::sleep(BLOCKED_FOR);
                            yield_now().await;
                        }
                    })
                })
                .collect();
            let longest = runtime.block_on(runtime.spawn(async {
                let begun = Instant::now();
                let (mut last, mut longest) = (begun, Duration::ZERO);
                while begun.elapsed() < 4 * BLOCKED_FOR {
                    sleep(Duration::from_millis(1)).await;
                    let now = Instant::now();
                    longest = longest.max(now - last);
                    last = now;
                }
                longest
            }));
            over.store(true, SeqCst);
            blockers
                .into_iter()
                .for_each(|task| runtime.block_on(task).unwrap());
            // Far from what it is, and less than one of them takes.
            let longest = longest.unwrap();
            assert!(longest < BLOCKED_FOR / 2, "{longest:?}");
        });
    }
}

#[test]
fn what_is_queued_behind_a_blocked_worker_runs_elsewhere() {
    bounded(|| {
        let runtime = runtime(1);
        let (tell, told) = channel();
        let gate = Gate::new();
        let shut = gate.clone();
        let task = runtime.spawn(async move {
            // The last one stays in the LIFO slot, the others are displaced from there.
            for number in 0..3 {
                let tell = tell.clone();
                heist::spawn(async move { tell.send(number).unwrap() });
            }
            shut.wait();
        });
        let mut numbers: Vec<i32> = (0..3).map(|_| heard(&told, "all of them run")).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2]);
        assert!(!task.is_finished());
        gate.open();
        runtime.block_on(task).unwrap();
    });
}

#[test]
fn what_a_blocked_worker_makes_runnable_long_after_runs_elsewhere() {
    bounded(|| {
        let runtime = runtime(1);
        let (go_on, goes_on) = channel::<()>();
        let (tell, told) = channel();
        let task = runtime.spawn(async move {
            while goes_on.recv().is_ok() {
                // Into the LIFO slot, of which nobody is told.
                let tell = tell.clone();
                heist::spawn(async move { tell.send(()).unwrap() });
            }
        });
        for _ in 0..5 {
            // Everybody else has gone to sleep by now, and whoever looks after them might.
            thread::sleep(Duration::from_millis(80));
            go_on.send(()).unwrap();
            heard(&told, "what it spawned runs");
        }
        drop(go_on);
        runtime.block_on(task).unwrap();
    });
}

#[test]
fn whoever_all_blocked_workers_wait_for_is_polled() {
    bounded(|| {
        let runtime = runtime(2);
        let gate = Gate::new();
        let (promise, deferred) = promise::<()>();
        let opens = gate.clone();
        let opener = runtime.spawn(async move {
            deferred.await.unwrap();
            opens.open();
        });
        let blocked = block(&runtime, 2, &gate);
        promise.set_result(()).unwrap();
        runtime.block_on(opener).unwrap();
        blocked
            .into_iter()
            .for_each(|task| runtime.block_on(task).unwrap());
    });
}

/// A lock that blocks the thread, and whose guard may be kept across an await.
#[derive(Default)]
struct Lock(Mutex<bool>, std::sync::Condvar);

struct Locked(Arc<Lock>);

impl Lock {
    fn lock(self: &Arc<Self>) -> Locked {
        let taken = self.0.lock().unwrap();
        let free = self.1.wait_timeout_while(taken, PATIENCE, |taken| *taken);
        let mut taken = free.unwrap().0;
        if *taken {
            drop(taken);
            panic!("whoever has the lock is not polled");
        }
        *taken = true;
        Locked(Arc::clone(self))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_one();
    }
}

#[test]
fn who_has_the_lock_that_all_workers_block_on_is_polled() {
    const TASKS: usize = 8;
    for workers in [1, 2, 4] {
        bounded(move || {
            let runtime = Runtime::builder()
                .worker_threads(workers)
                .max_spare_workers(TASKS)
                .build()
                .unwrap();
            let (lock, sum) = (Arc::new(Lock::default()), Arc::new(AtomicUsize::new(0)));
            let tasks: Vec<_> = (0..TASKS)
                .map(|_| {
                    let (lock, sum) = (Arc::clone(&lock), Arc::clone(&sum));
                    runtime.spawn(async move {
                        for _ in 0..3 {
                            let locked = lock.lock();
                            let before = sum.load(SeqCst);
                            // It waits in the queue of a worker that takes one of the others meanwhile, and in the
                            // driver.
                            for _ in 0..2 * TASKS {
                                yield_now().await;
                            }
                            sleep(Duration::from_millis(1)).await;
                            sum.store(before + 1, SeqCst);
                            drop(locked);
                        }
                    })
                })
                .collect();
            tasks
                .into_iter()
                .for_each(|task| runtime.block_on(task).unwrap());
            assert_eq!(sum.load(SeqCst), 3 * TASKS);
        });
    }
}

/// So many workers are left, once nobody is blocked any more.
#[track_caller]
fn settles_at(runtime: &Runtime, workers: usize) {
    // Those that are too many give their places back when they would sleep.
    let deadline = Instant::now() + PATIENCE;
    while runtime.handle().metrics().sleeping_workers != workers {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            runtime.handle().metrics()
        );
        runtime.block_on(runtime.spawn(yield_now())).unwrap();
    }
}

#[test]
fn a_hundred_blockers_get_a_bounded_number_of_threads_and_each_runs_once() {
    const TASKS: usize = 100;
    bounded(|| {
        let runtime = Runtime::builder()
            .worker_threads(2)
            .max_spare_workers(6)
            .build()
            .unwrap();
        let ran = Arc::new((0..TASKS).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let (ran, at_once, most) = (ran.clone(), at_once.clone(), most.clone());
                runtime.spawn(async move {
                    ran[number].fetch_add(1, SeqCst);
                    most.fetch_max(at_once.fetch_add(1, SeqCst) + 1, SeqCst);
                    thread::sleep(Duration::from_millis(30));
                    at_once.fetch_sub(1, SeqCst);
                })
            })
            .collect();
        tasks
            .into_iter()
            .for_each(|task| runtime.block_on(task).unwrap());
        assert!(ran.iter().all(|ran| ran.load(SeqCst) == 1));
        let most = most.load(SeqCst);
        assert!((3..=8).contains(&most), "{most} at once");
        settles_at(&runtime, 2);
        assert!(runtime.shutdown(Duration::from_secs(5)).is_clean());
    });
}

#[test]
fn waves_of_blockers_are_served_by_the_same_threads() {
    for (spares, waves) in [(6, 10), (98, 2)] {
        bounded_by(Duration::from_secs(30), move || {
            let started = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&started);
            let runtime = Runtime::builder()
                .worker_threads(2)
                .max_spare_workers(spares)
                .on_thread_start(move || _ = counter.fetch_add(1, SeqCst))
                .build()
                .unwrap();
            for _ in 0..waves {
                // As many as there may be threads, all at once.
                let gate = Gate::new();
                let blocked = block(&runtime, 2 + spares, &gate);
                gate.open();
                blocked
                    .into_iter()
                    .for_each(|task| runtime.block_on(task).unwrap());
            }
            assert_eq!(started.load(SeqCst), 2 + spares);
            settles_at(&runtime, 2);
        });
    }
}

#[test]
fn polls_that_compute_do_not_breed_threads() {
    bounded(|| {
        let runtime = runtime(2);
        let over = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..8)
            .map(|_| {
                let over = Arc::clone(&over);
                runtime.spawn(async move { while !over.load(SeqCst) {} })
            })
            .collect();
        // So many compute, each of them is known to, and those who serve in their place do the same by now.
        let allowed = 2 + (thread::available_parallelism().unwrap().get() / 2).max(1);
        let known = allowed.min(8) as u64;
        let deadline = Instant::now() + PATIENCE;
        while runtime.handle().metrics().stalls < known {
            assert!(
                Instant::now() < deadline,
                "{:?}",
                runtime.handle().metrics()
            );
            thread::yield_now();
        }
        // Time for what must not happen: at one per round of the monitor it would be long over.
        thread::sleep(Duration::from_millis(100));
        let slots = runtime.handle().metrics().workers.len();
        over.store(true, SeqCst);
        hogs.into_iter()
            .for_each(|task| runtime.block_on(task).unwrap());
        assert!(slots <= allowed, "{slots} workers, {allowed} allowed");
    });
}

#[test]
fn block_in_place_has_another_thread_serve_at_once() {
    bounded(|| {
        let runtime = Runtime::builder()
            .worker_threads(1)
            .blocked_worker_threshold(None)
            .build()
            .unwrap();
        let (tell, told) = channel();
        let task = runtime.spawn(async move {
            let other = heist::spawn(async move { tell.send(7).unwrap() });
            let number = block_in_place(|| told.recv().unwrap());
            other.await.unwrap();
            number
        });
        assert_eq!(runtime.block_on(task).unwrap(), 7);
        // Elsewhere it is a call.
        assert_eq!(block_in_place(|| 3), 3);
        assert_eq!(runtime.block_on(async { block_in_place(|| 4) }), 4);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_worker_that_is_back_from_block_in_place_is_looked_after() {
    for spares in [0, 8] {
        bounded(move || {
            let runtime = Runtime::builder()
                .worker_threads(2)
                .thread_name("back")
                .max_spare_workers(spares)
                .build()
                .unwrap();
            let (send, received) = channel();
            let task = runtime.spawn(async move {
                block_in_place(|| {
                    // Its name is there once it runs.
                    let monitor = || proc::threads("back-monitor");
                    while !monitor().iter().any(|it| proc::is_parked_for_ever(it)) {
                        thread::yield_now();
                    }
                });
                heist::spawn(async move { send.send(()).unwrap() }).detach();
                received.recv_timeout(PATIENCE)
            });
            let heard = runtime.block_on(task).unwrap();
            assert_eq!(heard, Ok(()), "{spares} spares");
        });
    }
}

#[test]
fn without_a_threshold_nobody_stands_in() {
    bounded(|| {
        let runtime = support::lone_worker();
        let gate = Gate::new();
        let blocked = block(&runtime, 1, &gate);
        let waits = runtime.spawn(async {});
        thread::sleep(Duration::from_millis(60));
        assert!(!waits.is_finished());
        let metrics = runtime.handle().metrics();
        assert_eq!((metrics.stalls, metrics.workers.len()), (0, 1));
        gate.open();
        runtime.block_on(waits).unwrap();
        blocked
            .into_iter()
            .for_each(|task| runtime.block_on(task).unwrap());
    });
}

#[test]
fn a_runtime_with_a_blocked_worker_ends_within_its_grace() {
    bounded(|| {
        let runtime = runtime(1);
        let gate = Gate::new();
        let blocked = block(&runtime, 1, &gate);
        let (tell, told) = channel();
        let cleans_up = runtime.spawn(async move {
            let _ = heist::task::catch_cancel(std::future::pending::<()>()).await;
            sleep(Duration::from_millis(1)).await;
            tell.send(()).unwrap();
        });
        runtime.block_on(runtime.spawn(yield_now())).unwrap();
        let report = runtime.shutdown(Duration::from_millis(300));
        heard(&told, "who is not blocked cleans up");
        assert!(cleans_up.is_finished());
        assert_eq!(report.tasks, [blocked[0].task_ref()]);
        gate.open();
    });
}
