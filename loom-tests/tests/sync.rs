//! Locks and events: one who waits against one who gives, and against going away.

#![cfg(loom)]

use heist_loom_tests::{explore, is_ready};
use heist_sync::{Event, Mutex, Queue, RwLock, Semaphore};
use loom::future::block_on;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use std::pin::pin;
use std::sync::Arc;

#[test]
fn two_lock_a_mutex() {
    explore("two_lock_a_mutex", || {
        let mutex = Arc::new(Mutex::new(0));
        let other = thread::spawn({
            let mutex = Arc::clone(&mutex);
            move || block_on(async { *mutex.lock().await += 1 })
        });
        block_on(async { *mutex.lock().await += 1 });
        other.join().expect("the model's thread");
        assert_eq!(*mutex.try_lock().expect("nobody has it"), 2);
    });
}

#[test]
fn a_mutex_is_unlocked_while_who_is_next_goes_away() {
    explore("a_mutex_is_unlocked_while_who_is_next_goes_away", || {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.clone().try_lock_owned().expect("nobody has it");
        let mut next = Box::pin(mutex.lock());
        assert!(!is_ready(next.as_mut()));
        let last = thread::spawn({
            let mutex = Arc::clone(&mutex);
            move || block_on(async { *mutex.lock().await += 1 })
        });
        let unlock = thread::spawn(move || drop(guard));
        drop(next);
        unlock.join().expect("the model's thread");
        last.join().expect("the model's thread");
        assert_eq!(*mutex.try_lock().expect("nobody has it"), 1);
    });
}

#[test]
fn a_waker_changes_while_the_mutex_is_unlocked() {
    explore("a_waker_changes_while_the_mutex_is_unlocked", || {
        let mutex = Arc::new(Mutex::new(0));
        let mut guard = mutex.clone().try_lock_owned().expect("nobody has it");
        let mut next = pin!(mutex.lock());
        assert!(!is_ready(next.as_mut()));
        let unlock = thread::spawn(move || {
            *guard += 1;
            drop(guard);
        });
        assert_eq!(*block_on(next), 1);
        unlock.join().expect("the model's thread");
    });
}

#[test]
fn permits_are_given_while_somebody_begins_to_wait_for_two() {
    explore(
        "permits_are_given_while_somebody_begins_to_wait_for_two",
        || {
            let semaphore = Arc::new(Semaphore::new(0));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let semaphore = Arc::clone(&semaphore);
                    thread::spawn(move || semaphore.release(1).expect("there is room"))
                })
                .collect();
            drop(block_on(semaphore.acquire_many(2)));
            for thread in threads {
                thread.join().expect("the model's thread");
            }
            assert_eq!(semaphore.available_permits(), 2);
        },
    );
}

#[test]
fn a_writer_against_a_reader() {
    explore("a_writer_against_a_reader", || {
        let lock = Arc::new(RwLock::new((0, 0)));
        let writer = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                block_on(async {
                    let mut pair = lock.write().await;
                    pair.0 += 1;
                    pair.1 += 1;
                });
            }
        });
        block_on(async {
            let pair = lock.read().await;
            assert_eq!(pair.0, pair.1);
        });
        writer.join().expect("the model's thread");
    });
}

#[test]
fn an_event_is_set_while_somebody_begins_to_wait() {
    explore("an_event_is_set_while_somebody_begins_to_wait", || {
        let event = Arc::new(Event::new());
        let other = thread::spawn({
            let event = Arc::clone(&event);
            move || event.set()
        });
        block_on(event.wait());
        other.join().expect("the model's thread");
    });
}

/// Who clears the flag looks whether there is anything before it waits.
#[test]
fn an_event_is_cleared_while_somebody_sets_it() {
    explore("an_event_is_cleared_while_somebody_sets_it", || {
        let world = Arc::new((Event::new(), AtomicUsize::new(0)));
        let other = thread::spawn({
            let world = Arc::clone(&world);
            move || {
                // Orders nothing: that is the event's to do.
                world.1.store(1, Relaxed);
                world.0.set();
            }
        });
        world.0.clear();
        if world.1.load(Relaxed) == 0 {
            block_on(world.0.wait());
            assert_eq!(world.1.load(Relaxed), 1);
        }
        other.join().expect("the model's thread");
    });
}

#[test]
fn an_item_is_put_while_who_would_get_it_goes_away() {
    explore("an_item_is_put_while_who_would_get_it_goes_away", || {
        let queue = Arc::new(Queue::bounded(1));
        let mut first = Box::pin(queue.get());
        assert!(!is_ready(first.as_mut()));
        let putter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || block_on(queue.put(1)).expect("it is open")
        });
        drop(first);
        assert_eq!(block_on(queue.get()), Ok(1));
        putter.join().expect("the model's thread");
    });
}

#[test]
fn a_queue_is_closed_while_somebody_begins_to_wait() {
    explore("a_queue_is_closed_while_somebody_begins_to_wait", || {
        let queue = Arc::new(Queue::bounded(1));
        queue.try_put(1).expect("there is room");
        let closer = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.close()
        });
        assert!(block_on(queue.put(2)).is_err());
        assert_eq!(block_on(queue.get()), Ok(1));
        assert!(block_on(queue.get()).is_err());
        closer.join().expect("the model's thread");
    });
}

/// Whoever gets from a closed queue is not told so while an item may come back.
#[test]
fn an_item_comes_back_to_a_queue_that_was_closed() {
    explore("an_item_comes_back_to_a_queue_that_was_closed", || {
        let queue = Arc::new(Queue::unbounded());
        let mut first = Box::pin(queue.get());
        assert!(!is_ready(first.as_mut()));
        queue.try_put(1).expect("it is open");
        queue.close();
        let getter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || block_on(queue.get())
        });
        drop(first);
        assert_eq!(getter.join().expect("the model's thread"), Ok(1));
    });
}

#[test]
fn the_last_item_is_done_while_somebody_begins_to_join() {
    explore(
        "the_last_item_is_done_while_somebody_begins_to_join",
        || {
            let queue = Arc::new(Queue::unbounded());
            queue.try_put(1).expect("there is room");
            let getter = thread::spawn({
                let queue = Arc::clone(&queue);
                move || {
                    block_on(queue.get()).expect("there is one");
                    queue.task_done().expect("it was put");
                }
            });
            block_on(queue.join());
            getter.join().expect("the model's thread");
        },
    );
}
