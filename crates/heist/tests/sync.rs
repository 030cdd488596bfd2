//! Locks among tasks and threads.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::sync::Arc;
use std::thread;

use heist::LocalRuntime;
use heist::sync::{Barrier, Event, Mutex, Queue, RwLock, Semaphore};
use heist::task::yield_now;
use support::{bounded, runtime};

#[test]
fn tasks_have_a_mutex_one_at_a_time_and_in_order() {
    bounded(|| {
        let runtime = runtime(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let guard = runtime.block_on(Arc::clone(&order).lock_owned());
        let tasks: Vec<_> = (0..3)
            .map(|at| {
                let own = Arc::clone(&order);
                let task = runtime.spawn(async move { own.lock().await.push(at) });
                // The next one comes when this one stands in line.
                let in_line = format!("waiting: {} ", at + 1);
                while !format!("{order:?}").contains(&in_line) {
                    thread::yield_now();
                }
                task
            })
            .collect();
        drop(guard);
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert_eq!(*runtime.block_on(order.lock()), [0, 1, 2]);
    });
}

#[test]
fn a_task_that_is_cancelled_while_it_waits_passes_its_turn_on() {
    bounded(|| {
        let runtime = runtime(2);
        for _ in 0..200 {
            let mutex = Arc::new(Mutex::new(0));
            let guard = runtime.block_on(Arc::clone(&mutex).lock_owned());
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let mutex = Arc::clone(&mutex);
                    runtime.spawn(async move { *mutex.lock().await += 1 })
                })
                .collect();
            let unlocker = thread::spawn(move || drop(guard));
            tasks[0].cancel();
            tasks[1].cancel();
            let over = tasks
                .into_iter()
                .map(|task| runtime.block_on(task))
                .filter(Result::is_ok)
                .count();
            unlocker.join().unwrap();
            assert_eq!(*runtime.block_on(mutex.lock()), over);
            assert!(over >= 1, "the last one was not cancelled");
        }
    });
}

#[test]
fn tasks_on_all_workers_and_threads_share_a_mutex() {
    bounded(|| {
        let runtime = runtime(4);
        let mutex = Arc::new(Mutex::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                runtime.spawn(async move {
                    for _ in 0..500 {
                        let mut guard = mutex.lock().await;
                        *guard += 1;
                        yield_now().await;
                    }
                })
            })
            .collect();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..500).for_each(|_| *mutex.lock_blocking() += 1));
            }
        });
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert_eq!(*mutex.try_lock().unwrap(), 10 * 500);
    });
}

/// On the only worker, for a lock that a task behind it has to give back.
#[test]
fn who_blocks_a_worker_with_a_lock_has_somebody_serve_in_its_place() {
    bounded(|| {
        let runtime = runtime(1);
        let (mutex, event) = (Arc::new(Mutex::new(0)), Arc::new(Event::new()));
        let guard = runtime.block_on(Arc::clone(&mutex).lock_owned());
        let blocked = runtime.spawn({
            let (mutex, event) = (Arc::clone(&mutex), Arc::clone(&event));
            async move {
                event.set();
                *mutex.lock_blocking() += 1;
            }
        });
        let holder = runtime.spawn(async move {
            event.wait().await;
            drop(guard);
        });
        runtime.block_on(holder).unwrap();
        runtime.block_on(blocked).unwrap();
        assert_eq!(*mutex.lock_blocking(), 1);
    });
}

/// Where a task that blocks would wait for itself.
#[test]
fn what_is_free_is_taken_without_waiting_on_a_local_runtime_too() {
    bounded(|| {
        let runtime = LocalRuntime::new().unwrap();
        let (mutex, semaphore) = (Mutex::new(1), Semaphore::new(1));
        runtime.block_on(async {
            *mutex.lock_blocking() += 1;
            drop(semaphore.acquire_blocking());
        });
        assert_eq!(mutex.into_inner(), 2);
    });
}

#[test]
fn a_semaphore_bounds_how_many_tasks_are_inside() {
    bounded(|| {
        let runtime = runtime(4);
        let semaphore = Arc::new(Semaphore::new(3));
        let inside = Arc::new(Semaphore::bounded(3));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let semaphore = Arc::clone(&semaphore);
                let inside = Arc::clone(&inside);
                runtime.spawn(async move {
                    let _permit = semaphore.acquire().await;
                    let _place = inside.try_acquire().expect("there are three places");
                    yield_now().await;
                })
            })
            .collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert_eq!(semaphore.available_permits(), 3);
    });
}

#[test]
fn readers_and_writers_share_a_lock_among_runtimes() {
    bounded(|| {
        let (one, other) = (runtime(2), runtime(1));
        let lock = Arc::new(RwLock::new((0, 0)));
        let tasks: Vec<_> = (0..40)
            .map(|at| {
                let lock = Arc::clone(&lock);
                let runtime = if at % 3 == 0 { &other } else { &one };
                runtime.spawn(async move {
                    if at % 2 == 0 {
                        let mut pair = lock.write().await;
                        pair.0 += 1;
                        yield_now().await;
                        pair.1 += 1;
                    } else {
                        let pair = lock.read().await;
                        yield_now().await;
                        assert_eq!(pair.0, pair.1);
                    }
                })
            })
            .collect();
        for task in tasks {
            one.block_on(task).unwrap();
        }
        assert_eq!(*lock.read_blocking(), (20, 20));
    });
}

#[test]
fn an_event_lets_ten_thousand_tasks_go_on() {
    bounded(|| {
        let runtime = runtime(2);
        let event = Arc::new(Event::new());
        let tasks: Vec<_> = (0..10_000)
            .map(|_| {
                let event = Arc::clone(&event);
                runtime.spawn(async move { event.wait().await })
            })
            .collect();
        event.set();
        event.clear();
        event.set();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
    });
}

#[test]
fn a_barrier_numbers_those_who_meet() {
    bounded(|| {
        let runtime = runtime(4);
        let barrier = Arc::new(Barrier::new(3));
        for _ in 0..100 {
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let barrier = Arc::clone(&barrier);
                    runtime.spawn(async move { barrier.wait().await })
                })
                .collect();
            let mut numbers: Vec<_> = tasks
                .into_iter()
                .map(|task| runtime.block_on(task).unwrap().unwrap())
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, [0, 1, 2]);
        }
    });
}

#[test]
fn each_item_of_a_queue_comes_once_and_in_the_order_of_its_producer() {
    const ITEMS: usize = 2_000;
    bounded(|| {
        let runtime = runtime(4);
        let queue = Arc::new(Queue::bounded(7));
        let putters: Vec<_> = (0..8)
            .map(|from| {
                let queue = Arc::clone(&queue);
                runtime.spawn(async move {
                    for item in 0..ITEMS {
                        queue.put((from, item)).await.unwrap();
                    }
                })
            })
            .collect();
        let getters: Vec<_> = (0..8)
            .map(|_| {
                let queue = Arc::clone(&queue);
                runtime.spawn(async move {
                    let (mut last, mut count) = ([None; 8], 0);
                    while let Ok((from, item)) = queue.get().await {
                        assert!(last[from].replace(item) < Some(item));
                        queue.task_done().unwrap();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for putter in putters {
            runtime.block_on(putter).unwrap();
        }
        runtime.block_on(queue.join());
        queue.close();
        let got = getters
            .into_iter()
            .map(|getter| runtime.block_on(getter).unwrap());
        assert_eq!(got.sum::<usize>(), 8 * ITEMS);
    });
}

/// A task that always finds its lock free gives others their turn.
#[test]
fn a_lock_that_is_always_free_takes_part_in_the_budget() {
    bounded(|| {
        let runtime = runtime(1);
        let stop = Arc::new(Event::new());
        let busy = runtime.spawn({
            let stop = Arc::clone(&stop);
            async move {
                let (mutex, semaphore) = (Mutex::new(()), Semaphore::new(1));
                while !stop.is_set() {
                    drop(mutex.lock().await);
                    drop(semaphore.acquire().await);
                }
            }
        });
        let other = runtime.spawn(async move { stop.set() });
        runtime.block_on(other).unwrap();
        runtime.block_on(busy).unwrap();
    });
}

#[test]
fn what_a_thread_was_served_is_not_lost_at_the_end_of_its_runtime() {
    bounded(|| {
        for _ in 0..50 {
            let queue = Arc::new(Queue::<u8>::bounded(1));
            queue.try_put(1).unwrap();
            let runtime = runtime(2);
            let (waits, its_queue) = (Arc::clone(&queue), Arc::clone(&queue));
            let job = runtime.spawn_blocking(move || its_queue.put_blocking(2).is_err());
            while !format!("{waits:?}").contains("putting: 1") {
                std::thread::yield_now();
            }
            queue.close();
            drop(runtime);
            assert!(job.wait_blocking().unwrap(), "it was told so before");
        }
    });
}
