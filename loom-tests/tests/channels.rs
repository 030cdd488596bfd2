//! Notifications, cells and channels: one who waits against one who tells, and against going away.

#![cfg(loom)]

use heist_loom_tests::{explore, is_ready};
use heist_sync::{Condvar, Mutex, Notify, OnceCell, Queue, broadcast, mpsc, watch};
use loom::future::block_on;
use loom::thread;
use std::sync::Arc;

#[test]
fn a_change_is_made_while_somebody_begins_to_wait_for_it() {
    explore(
        "a_change_is_made_while_somebody_begins_to_wait_for_it",
        || {
            let world = Arc::new((Mutex::new(false), Condvar::new()));
            let other = thread::spawn({
                let world = Arc::clone(&world);
                move || {
                    block_on(async { *world.0.lock().await = true });
                    world.1.notify_one();
                }
            });
            block_on(async {
                let guard = world.0.lock().await;
                assert!(*world.1.wait_while(guard, |changed| !*changed).await);
            });
            other.join().expect("the model's thread");
        },
    );
}

#[test]
fn a_condition_is_notified_while_who_is_next_goes_away() {
    explore(
        "a_condition_is_notified_while_who_is_next_goes_away",
        || {
            let world = Arc::new((Mutex::new(()), Condvar::new()));
            let guard = world.0.try_lock().expect("nobody has it");
            let mut next = Box::pin(world.1.wait(guard));
            assert!(!is_ready(next.as_mut()));
            let guard = world.0.try_lock().expect("nobody has it");
            let mut last = Box::pin(world.1.wait(guard));
            assert!(!is_ready(last.as_mut()));
            let other = thread::spawn({
                let world = Arc::clone(&world);
                move || world.1.notify_one()
            });
            drop(next);
            drop(block_on(last));
            other.join().expect("the model's thread");
        },
    );
}

#[test]
fn a_notification_comes_while_somebody_begins_to_wait() {
    explore("a_notification_comes_while_somebody_begins_to_wait", || {
        let notify = Arc::new(Notify::new());
        let other = thread::spawn({
            let notify = Arc::clone(&notify);
            move || notify.notify_one()
        });
        block_on(notify.notified());
        other.join().expect("the model's thread");
    });
}

#[test]
fn a_notification_comes_while_who_is_next_goes_away() {
    explore("a_notification_comes_while_who_is_next_goes_away", || {
        let notify = Arc::new(Notify::new());
        let mut next = Box::pin(notify.notified());
        assert!(!is_ready(next.as_mut()));
        let other = thread::spawn({
            let notify = Arc::clone(&notify);
            move || notify.notify_one()
        });
        drop(next);
        block_on(notify.notified());
        other.join().expect("the model's thread");
    });
}

#[test]
fn two_find_a_cell_empty() {
    explore("two_find_a_cell_empty", || {
        let cell = Arc::new(OnceCell::new());
        let make = |cell: Arc<OnceCell<Box<usize>>>| {
            let looked = cell.get().map(|value| **value);
            assert!(looked.is_none_or(|value| value == 1));
            assert_eq!(**block_on(cell.get_or_init(|| async { Box::new(1) })), 1);
        };
        let other = thread::spawn({
            let cell = Arc::clone(&cell);
            move || make(cell)
        });
        make(Arc::clone(&cell));
        other.join().expect("the model's thread");
    });
}

#[test]
fn a_place_is_promised_to_who_goes_away() {
    explore("a_place_is_promised_to_who_goes_away", || {
        let queue = Arc::new(Queue::bounded(1));
        queue.try_put(1).expect("there is room");
        let mut first = Box::pin(queue.put(2));
        assert!(!is_ready(first.as_mut()));
        let getter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || assert_eq!(queue.try_get(), Ok(1))
        });
        let mut second = Box::pin(queue.put(3));
        if is_ready(second.as_mut()) {
            unreachable!("somebody is before it");
        }
        drop(first);
        block_on(second).expect("it is open");
        getter.join().expect("the model's thread");
        assert_eq!(queue.try_get(), Ok(3));
    });
}

#[test]
fn one_puts_and_one_gets_without_room() {
    explore("one_puts_and_one_gets_without_room", || {
        let queue = Arc::new(Queue::rendezvous());
        let putter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || block_on(queue.put(Box::new(1))).expect("it is open")
        });
        assert_eq!(*block_on(queue.get()).expect("it is open"), 1);
        putter.join().expect("the model's thread");
        assert!(queue.is_empty());
    });
}

#[test]
fn the_last_sender_goes_while_somebody_begins_to_receive() {
    explore(
        "the_last_sender_goes_while_somebody_begins_to_receive",
        || {
            let (sender, mut receiver) = mpsc::channel(1);
            let other = thread::spawn(move || {
                sender.try_send(1).expect("there is room");
                drop(sender);
            });
            assert_eq!(block_on(receiver.recv()), Some(1));
            assert_eq!(block_on(receiver.recv()), None);
            other.join().expect("the model's thread");
        },
    );
}

#[test]
fn the_receiver_goes_while_somebody_waits_for_that() {
    explore("the_receiver_goes_while_somebody_waits_for_that", || {
        let (sender, receiver) = mpsc::channel::<()>(1);
        let other = thread::spawn(move || drop(receiver));
        block_on(sender.closed());
        assert!(sender.is_closed());
        other.join().expect("the model's thread");
    });
}

#[test]
fn a_version_is_sent_while_somebody_begins_to_wait() {
    explore("a_version_is_sent_while_somebody_begins_to_wait", || {
        let (sender, mut receiver) = watch::channel(0);
        let other = thread::spawn(move || {
            sender.send(1).expect("somebody receives");
            drop(sender);
        });
        block_on(receiver.changed()).expect("there is one");
        assert_eq!(*receiver.get(), 1);
        assert!(block_on(receiver.changed()).is_err());
        other.join().expect("the model's thread");
    });
}

#[test]
fn a_value_is_broadcast_while_somebody_begins_to_wait() {
    explore("a_value_is_broadcast_while_somebody_begins_to_wait", || {
        let (sender, mut receiver) = broadcast::channel(1);
        let other = thread::spawn(move || {
            sender.send(1).expect("somebody receives");
            drop(sender);
        });
        assert_eq!(block_on(receiver.recv()), Ok(1));
        assert!(block_on(receiver.recv()).is_err());
        other.join().expect("the model's thread");
    });
}
