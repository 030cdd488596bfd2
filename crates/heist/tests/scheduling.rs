//! Work finds a worker, whatever the workers do at that moment. On real threads and the real driver.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::env;
use std::future::poll_fn;
use std::hint;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use heist::task::yield_now;
use heist::time::sleep;
use heist::{Handle, LocalRuntime, promise};
use support::{beside_a_local_runtime, bounded, bounded_by, lone_worker, runtime};

/// Other threads get their turn while this one waits for a few instructions of theirs.
#[track_caller]
fn settle(mut done: impl FnMut() -> bool) {
    while !done() {
        thread::yield_now();
    }
}

/// Rounds of a race that has a command of its own for many more of them.
const RACES: usize = 6_000;

/// So many, or as many as `HEIST_RACES` says.
fn races() -> usize {
    env::var("HEIST_RACES").map_or(RACES, |rounds| rounds.parse().unwrap())
}

/// Fails a test with this many rounds if it takes longer than ten seconds for each [`RACES`] of them.
fn bounded_races(test: impl FnOnce() + Send + 'static) {
    bounded_by(
        Duration::from_secs(10) * races().div_ceil(RACES) as u32,
        test,
    );
}

/// Spawns again and again, each time at another moment of the worker's way to sleep, and waits for each.
fn spawn_while_it_falls_asleep(own: &Handle) {
    let ran = Arc::new(AtomicUsize::new(0));
    for round in 1..=races() {
        let counter = Arc::clone(&ran);
        own.spawn(async move { counter.fetch_add(1, Ordering::SeqCst) })
            .detach();
        settle(|| ran.load(Ordering::SeqCst) == round);
        // From right after its last poll until it sleeps.
        for _ in 0..round % 300 * 10 {
            hint::spin_loop();
        }
    }
}

#[test]
fn a_spawn_that_races_with_the_last_worker_falling_asleep_in_the_driver_is_run() {
    bounded_races(|| {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            spawn_while_it_falls_asleep(runtime.handle());
        }
    });
}

#[test]
fn a_spawn_that_races_with_a_local_runtime_falling_asleep_is_run() {
    bounded_races(|| {
        beside_a_local_runtime(spawn_while_it_falls_asleep);
    });
}

#[test]
fn a_wake_that_races_with_a_root_falling_asleep_is_not_lost() {
    bounded(|| {
        const ROUNDS: usize = 6_000;
        let (multi, local) = (runtime(2), LocalRuntime::new().unwrap());
        for on_multi in [true, false] {
            // A turn is over when the root has seen it.
            let (given, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let asleep: Arc<Mutex<Option<Waker>>> = Arc::default();
            let waker = {
                let (given, seen) = (Arc::clone(&given), Arc::clone(&seen));
                let asleep = Arc::clone(&asleep);
                thread::spawn(move || {
                    for round in 1..=ROUNDS {
                        for _ in 0..round % 300 * 10 {
                            hint::spin_loop();
                        }
                        given.store(round, Ordering::SeqCst);
                        let waker = asleep.lock().unwrap().take();
                        waker.inspect(Waker::wake_by_ref);
                        settle(|| seen.load(Ordering::SeqCst) == round);
                    }
                })
            };
            let root = poll_fn(|cx| {
                loop {
                    *asleep.lock().unwrap() = Some(cx.waker().clone());
                    let now = given.load(Ordering::SeqCst);
                    if seen.swap(now, Ordering::SeqCst) == now {
                        return Poll::Pending;
                    }
                    if now == ROUNDS {
                        return Poll::Ready(());
                    }
                }
            });
            if on_multi {
                multi.block_on(root);
            } else {
                local.block_on(root);
            }
            waker.join().unwrap();
        }
    });
}

#[test]
fn a_spawn_after_the_driver_was_woken_for_a_timer_is_run() {
    bounded(|| {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let own = runtime.handle();
            let ran = Arc::new(AtomicUsize::new(0));
            let _entered = own.enter();
            for round in 1..=2000 {
                // Earlier than the one before: the sleeper is woken, for nothing that is in a queue.
                let mut earlier = pin!(sleep(Duration::from_secs(3600 - round as u64)));
                let mut cx = Context::from_waker(Waker::noop());
                assert!(earlier.as_mut().poll(&mut cx).is_pending());
                let counter = Arc::clone(&ran);
                own.spawn(async move { counter.fetch_add(1, Ordering::SeqCst) })
                    .detach();
                settle(|| ran.load(Ordering::SeqCst) == round);
            }
        }
    });
}

#[test]
fn whatever_waits_behind_a_long_poll_is_taken_by_another_worker() {
    bounded(|| {
        for _ in 0..30 {
            let runtime = runtime(2);
            let own = runtime.handle().clone();
            let ran = Arc::new(AtomicUsize::new(0));
            let count = |ran: &Arc<AtomicUsize>| {
                let ran = Arc::clone(ran);
                async move { ran.fetch_add(1, Ordering::SeqCst) }
            };
            let (wake, woken) = promise::<()>();
            let sleeper = runtime.spawn({
                let counted = count(&ran);
                async move {
                    woken.await.unwrap();
                    counted.await;
                }
            });
            let long = runtime.spawn(async move {
                // From here on this worker does nothing else.
                heist::spawn(count(&ran)).detach();
                settle(|| ran.load(Ordering::SeqCst) == 1);
                heist::spawn(count(&ran)).detach();
                heist::spawn(count(&ran)).detach();
                settle(|| ran.load(Ordering::SeqCst) == 3);
                wake.set_result(()).unwrap();
                settle(|| ran.load(Ordering::SeqCst) == 4);
                let elsewhere = count(&ran);
                thread::spawn(move || own.spawn(elsewhere).detach())
                    .join()
                    .unwrap();
                settle(|| ran.load(Ordering::SeqCst) == 5);
                let turns = Arc::new(AtomicUsize::new(0));
                let turning = Arc::clone(&turns);
                let yielding = heist::spawn(async move {
                    loop {
                        turning.fetch_add(1, Ordering::SeqCst);
                        yield_now().await;
                    }
                });
                settle(|| turns.load(Ordering::SeqCst) > 3);
                yielding.abort();
            });
            runtime.block_on(long).unwrap();
            runtime.block_on(sleeper).unwrap();
        }
    });
}

/// One for the stack, displaced by one for the LIFO slot.
fn spawn_two(polls: &Arc<AtomicUsize>) {
    for _ in 0..2 {
        let polls = Arc::clone(polls);
        heist::spawn(async move { polls.fetch_add(1, Ordering::SeqCst) }).detach();
    }
}

#[test]
fn a_spawn_from_outside_waits_for_few_of_the_workers_own_tasks() {
    bounded(|| {
        const CROWD: usize = 100;
        /// Less than a round of the crowd.
        const FEW: usize = 61;
        let runtime = lone_worker();
        let own = runtime.handle().clone();
        let (polls, over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let root = runtime.spawn(async move {
            for one in 0..CROWD {
                let (polls, over) = (Arc::clone(&polls), Arc::clone(&over));
                heist::spawn(async move {
                    while !over.load(Ordering::SeqCst) {
                        polls.fetch_add(1, Ordering::SeqCst);
                        if one % 2 == 0 {
                            spawn_two(&polls);
                        }
                        yield_now().await;
                    }
                })
                .detach();
            }
            for round in 0..100 {
                if round % 2 == 0 {
                    spawn_two(&polls);
                }
                // All of it while this worker stands still.
                let (own, counter) = (own.clone(), Arc::clone(&polls));
                let outside =
                    thread::spawn(move || own.spawn(async move { counter.load(Ordering::SeqCst) }));
                let spawned = outside.join().unwrap();
                let before = polls.load(Ordering::SeqCst);
                let between = spawned.await.unwrap() - before;
                assert!(between <= FEW, "{between} polls went first");
            }
            over.store(true, Ordering::SeqCst);
        });
        runtime.block_on(root).unwrap();
    });
}

#[test]
fn each_task_runs_once_while_queues_grow_and_thieves_take() {
    bounded(|| {
        const TASKS: usize = 10_000;
        let runtime = runtime(4);
        for _ in 0..5 {
            let runs: Arc<Vec<AtomicU8>> =
                Arc::new((0..2 * TASKS).map(|_| AtomicU8::new(0)).collect());
            let (open, gate) = promise::<()>();
            let gate = gate.share();
            let ready = Arc::new(AtomicUsize::new(0));
            // Woken by one poll, later: more than a queue of a worker has room for.
            let woken: Vec<_> = (0..TASKS)
                .map(|item| {
                    let (runs, gate, ready) = (Arc::clone(&runs), gate.clone(), Arc::clone(&ready));
                    runtime.spawn(async move {
                        ready.fetch_add(1, Ordering::SeqCst);
                        gate.await.unwrap();
                        runs[item].fetch_add(1, Ordering::SeqCst);
                    })
                })
                .collect();
            settle(|| ready.load(Ordering::SeqCst) == TASKS);
            let into = Arc::clone(&runs);
            let parent = runtime.spawn(async move {
                let child = |item: usize| {
                    let runs = Arc::clone(&into);
                    heist::spawn(async move { runs[item].fetch_add(1, Ordering::SeqCst) })
                };
                let mut children = vec![child(TASKS), child(TASKS + 1)];
                // The first one is not in the LIFO slot any more, and this worker is busy: thieves are here.
                settle(|| into[TASKS].load(Ordering::SeqCst) == 1);
                open.set_result(()).unwrap();
                // Spawned by one poll, at the same time.
                children.extend((TASKS + 2..2 * TASKS).map(child));
                for child in children {
                    child.await.unwrap();
                }
            });
            runtime.block_on(async {
                parent.await.unwrap();
                for task in woken {
                    task.await.unwrap();
                }
            });
            assert!(runs.iter().all(|runs| runs.load(Ordering::SeqCst) == 1));
        }
        let metrics = runtime.handle().metrics();
        assert!(metrics.steals() > 0, "{metrics:?}");
    });
}

#[test]
fn closures_from_several_threads_all_run_and_find_their_way_back() {
    bounded(|| {
        let runtime = runtime(2);
        let begin = Arc::new(Barrier::new(3));
        let submitters: Vec<_> = (0..3)
            .map(|_| {
                let (own, begin) = (runtime.handle().clone(), Arc::clone(&begin));
                thread::spawn(move || {
                    begin.wait();
                    (0..1000_u64)
                        .map(|n| own.spawn_blocking(move || n).wait_blocking().unwrap())
                        .sum::<u64>()
                })
            })
            .collect();
        for submitter in submitters {
            assert_eq!(submitter.join().unwrap(), 499_500);
        }
        // One that nobody waits for runs, too.
        let (done, over) = channel();
        runtime
            .spawn_blocking(move || done.send(()).unwrap())
            .detach();
        over.recv().unwrap();
    });
}

/// Takes turns with another one for ever: each wakes the other.
fn play(turn: &Arc<[Mutex<Option<Waker>>; 2]>, mine: usize) -> impl Future<Output = ()> + use<> {
    let turn = Arc::clone(turn);
    poll_fn(move |cx| {
        *turn[mine].lock().unwrap() = Some(cx.waker().clone());
        let other = turn[1 - mine].lock().unwrap().take();
        other.inspect(Waker::wake_by_ref);
        Poll::Pending
    })
}

#[test]
fn a_timer_fires_behind_two_tasks_that_wake_each_other() {
    bounded(|| {
        let game = || async {
            let turn = Arc::default();
            let players = [heist::spawn(play(&turn, 0)), heist::spawn(play(&turn, 1))];
            for _ in 0..10 {
                sleep(Duration::from_millis(1)).await;
            }
            for player in players {
                assert!(player.cancel());
                assert!(player.await.unwrap_err().is_cancelled());
            }
        };
        let multi = lone_worker();
        multi.block_on(multi.spawn(game())).unwrap();
        LocalRuntime::new().unwrap().block_on(game());
    });
}
