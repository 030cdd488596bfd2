//! Behaviour of the multi-threaded scheduler.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use heist_core::future::promise;
use support::{Flag, LIMIT, bounded, meta, sleep, start, stop, times, wait_until, yield_now};

#[test]
fn spawns_from_sixteen_threads_all_run_once() {
    bounded("16 threads spawn 10^4 tasks each", || {
        let (scheduler, _) = start(4);
        let ran = Arc::new(AtomicUsize::new(0));
        let spawners: Vec<_> = (0..16)
            .map(|_| {
                let (scheduler, ran) = (scheduler.clone(), ran.clone());
                std::thread::spawn(move || {
                    for _ in 0..times(10_000) {
                        let ran = ran.clone();
                        scheduler
                            .spawn(async move { ran.fetch_add(1, Relaxed) }, meta())
                            .detach();
                    }
                })
            })
            .collect();
        spawners
            .into_iter()
            .for_each(|spawner| spawner.join().unwrap());
        wait_until("all tasks ran", || ran.load(Relaxed) == 16 * times(10_000));
        stop(&scheduler);
    });
}

#[test]
fn a_chain_of_awaits_returns_its_length() {
    bounded("a chain of 1000 tasks", || {
        let (scheduler, _) = start(2);
        let own = scheduler.clone();
        let length = scheduler.block_on(
            async move {
                let mut last = own.spawn(async { 0 }, meta());
                for _ in 0..times(1000) {
                    last = own.spawn(async move { last.await.unwrap() + 1 }, meta());
                }
                last.await.unwrap()
            },
            meta(),
        );
        assert_eq!(length.unwrap(), times(1000));
        stop(&scheduler);
    });
}

#[test]
fn children_of_one_poll_are_stolen() {
    bounded("10^5 children of one poll", || {
        let (scheduler, _) = start(4);
        let ran = Arc::new(AtomicUsize::new(0));
        let (own, count) = (scheduler.clone(), ran.clone());
        let parent = scheduler.spawn(
            async move {
                for _ in 0..100_000 {
                    let count = count.clone();
                    own.spawn(async move { count.fetch_add(1, Relaxed) }, meta())
                        .detach();
                }
            },
            meta(),
        );
        scheduler.block_on(parent, meta()).unwrap().unwrap();
        wait_until("all children ran", || ran.load(Relaxed) == 100_000);
        let metrics = scheduler.metrics();
        assert!(metrics.steals() > 0, "{metrics:?}");
        assert!(
            metrics
                .workers
                .iter()
                .filter(|worker| worker.polls > 0)
                .count()
                >= 2,
            "{metrics:?}"
        );
        stop(&scheduler);
    });
}

#[test]
fn a_third_task_gets_past_two_that_wake_each_other() {
    bounded("a third task beside a LIFO ping-pong", || {
        let (scheduler, _) = start(1);
        let over = Arc::new(AtomicBool::new(false));
        let wakers: Arc<[Mutex<Option<std::task::Waker>>; 2]> = Arc::default();
        let player = |me: usize| {
            let (wakers, over) = (wakers.clone(), over.clone());
            std::future::poll_fn(move |cx| {
                *wakers[me].lock().unwrap() = Some(cx.waker().clone());
                if let Some(other) = wakers[1 - me].lock().unwrap().take() {
                    other.wake();
                }
                if over.load(Relaxed) {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            })
        };
        let players = [
            scheduler.spawn(player(0), meta()),
            scheduler.spawn(player(1), meta()),
        ];
        let third = scheduler.spawn(
            async {
                for _ in 0..100 {
                    yield_now().await;
                }
            },
            meta(),
        );
        let begun = Instant::now();
        scheduler.block_on(third, meta()).unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1));
        over.store(true, Relaxed);
        for waker in wakers.iter() {
            if let Some(waker) = waker.lock().unwrap().take() {
                waker.wake();
            }
        }
        for player in players {
            player.cancel();
        }
        stop(&scheduler);
    });
}

#[test]
fn an_idle_runtime_sleeps_without_waking_up() {
    bounded("an idle runtime", || {
        let (scheduler, driver) = start(3);
        scheduler.block_on(async {}, meta()).unwrap();
        let parks = |metrics: &heist_scheduler::Metrics| {
            metrics.workers.iter().map(|w| w.parks).sum::<u64>()
        };
        let mut before = parks(&scheduler.metrics());
        let mut calm = 0;
        let begun = Instant::now();
        while calm < 20 {
            assert!(begun.elapsed() < LIMIT, "workers go on waking up");
            Flag::default().wait_for(Duration::from_millis(10));
            let now = parks(&scheduler.metrics());
            calm = if now == before { calm + 1 } else { 0 };
            before = now;
        }
        assert!(driver.is_inside());
        stop(&scheduler);
    });
}

#[test]
fn a_spawn_that_races_with_the_last_worker_going_to_sleep_is_run() {
    bounded("outside spawns against falling asleep", || {
        for (workers, times) in [(1, times(50_000)), (2, times(100_000)), (4, times(50_000))] {
            let (scheduler, _) = start(workers);
            for _ in 0..times {
                scheduler
                    .block_on(scheduler.spawn(async {}, meta()), meta())
                    .unwrap()
                    .unwrap();
            }
            stop(&scheduler);
        }
    });
}

#[test]
fn idle_workers_take_what_waits_behind_a_long_poll() {
    bounded("work conservation", || {
        let (scheduler, _) = start(4);
        for _ in 0..times(200) {
            let met = Arc::new(Barrier::new(4));
            let own = scheduler.clone();
            // Each child blocks until all four run at the same time, so none may wait in a queue.
            let tasks = scheduler.block_on(
                scheduler.spawn(
                    async move {
                        (0..4)
                            .map(|_| {
                                let met = met.clone();
                                own.spawn(async move { met.wait().is_leader() }, meta())
                            })
                            .collect::<Vec<_>>()
                    },
                    meta(),
                ),
                meta(),
            );
            for task in tasks.unwrap().unwrap() {
                scheduler.block_on(task, meta()).unwrap().unwrap();
            }
        }
        stop(&scheduler);
    });
}

#[test]
fn a_flood_from_outside_starves_nobody() {
    bounded("an injector flood", || {
        let (scheduler, driver) = start(1);
        let over = Arc::new(AtomicBool::new(false));
        let (flood, end) = (scheduler.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Relaxed) {
                flood.spawn(async {}, meta()).detach();
                if flood.metrics().injector_depth > 10_000 {
                    std::thread::yield_now();
                }
            }
        });
        let local = scheduler.spawn(
            async move {
                for _ in 0..20 {
                    sleep(&driver, Duration::from_millis(1)).await;
                    for _ in 0..100 {
                        yield_now().await;
                    }
                }
            },
            meta(),
        );
        scheduler.block_on(local, meta()).unwrap().unwrap();
        over.store(true, Relaxed);
        thread.join().unwrap();
        stop(&scheduler);
    });
}

#[test]
fn a_task_that_yields_lets_a_spawn_from_outside_go_first() {
    bounded("two tasks that yield in turn", || {
        let (scheduler, _) = start(1);
        let order = Arc::new(Mutex::new(String::new()));
        let both_spawned = Arc::new(Barrier::new(2));
        let step = |name| {
            let order = order.clone();
            move || order.lock().unwrap().push(name)
        };
        let (a, b, other_spawned) = (step('a'), step('b'), both_spawned.clone());
        let first = scheduler.spawn(
            async move {
                other_spawned.wait();
                a();
                yield_now().await;
                a();
                yield_now().await;
                a();
            },
            meta(),
        );
        let second = scheduler.spawn(
            async move {
                b();
                yield_now().await;
                b();
            },
            meta(),
        );
        both_spawned.wait();
        scheduler.block_on(first, meta()).unwrap().unwrap();
        scheduler.block_on(second, meta()).unwrap().unwrap();
        assert_eq!(*order.lock().unwrap(), "ababa");
        stop(&scheduler);
    });
}

#[test]
fn timers_fire_beside_tasks_that_yield_for_ever() {
    bounded("timers beside busy tasks", || {
        let (scheduler, driver) = start(2);
        let over = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = (0..8)
            .map(|_| {
                let over = over.clone();
                scheduler.spawn(
                    async move {
                        while !over.load(Relaxed) {
                            yield_now().await;
                        }
                    },
                    meta(),
                )
            })
            .collect();
        let begun = Instant::now();
        let timer = scheduler.spawn(
            async move {
                for _ in 0..100 {
                    sleep(&driver, Duration::from_millis(1)).await;
                }
            },
            meta(),
        );
        scheduler.block_on(timer, meta()).unwrap().unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
        over.store(true, Relaxed);
        for task in busy {
            scheduler.block_on(task, meta()).unwrap().unwrap();
        }
        stop(&scheduler);
    });
}

#[test]
fn callbacks_of_one_thread_start_in_order() {
    bounded("call_soon in order", || {
        let (scheduler, _) = start(4);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handles: Vec<_> = (0..1000)
            .map(|n| {
                let seen = seen.clone();
                scheduler.call_soon(move || seen.lock().unwrap().push(n))
            })
            .collect();
        let done = Flag::default();
        let last = done.clone();
        scheduler.call_soon(move || panic!("a callback that panics stops nothing else"));
        scheduler.call_soon(move || last.raise());
        done.wait("the last callback");
        assert_eq!(*seen.lock().unwrap(), (0..1000).collect::<Vec<_>>());
        assert!(
            handles
                .iter()
                .all(|handle| !handle.cancel() && !handle.is_cancelled())
        );
        stop(&scheduler);
        let late = scheduler.call_soon(|| unreachable!("the runtime is shut down"));
        assert!(late.is_cancelled());
    });
}

#[test]
fn a_cancelled_callback_does_not_run() {
    bounded("cancelled callbacks", || {
        let (scheduler, _) = start(1);
        let (entered, gate) = (Flag::default(), Flag::default());
        let (in_first, first_gate) = (entered.clone(), gate.clone());
        scheduler.call_soon(move || {
            in_first.raise();
            first_gate.wait("the test goes on");
        });
        entered.wait("the first callback");
        let handle = scheduler.call_soon(|| unreachable!("it was cancelled"));
        assert!(handle.cancel());
        assert!(!handle.cancel());
        gate.raise();
        stop(&scheduler);
    });
}

#[test]
fn wakes_from_foreign_threads_arrive() {
    bounded("promises completed by foreign threads", || {
        let (scheduler, _) = start(2);
        for n in 0..2_000 {
            let (sender, receiver) = promise::<usize>();
            let task = scheduler.spawn(async move { receiver.await.unwrap() }, meta());
            let thread = std::thread::spawn(move || sender.set_result(n).unwrap());
            assert_eq!(scheduler.block_on(task, meta()).unwrap().unwrap(), n);
            thread.join().unwrap();
        }
        stop(&scheduler);
    });
}
