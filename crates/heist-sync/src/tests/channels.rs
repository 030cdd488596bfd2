//! Channels, notifications and cells, polled by hand.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::thread;

use super::{poll, ready};
use crate::broadcast::{RecvError, TryRecvError};
use crate::{
    Closed, Condvar, LifoQueue, Mutex, MutexGuard, Notify, OnceCell, PriorityQueue, Queue,
    SetError, TryGetError, TryPutError, broadcast, mpsc, oneshot, watch,
};

#[test]
fn a_notification_that_nobody_waits_for_is_kept_once() {
    let notify = Notify::new();
    notify.notify_one();
    notify.notify_one();
    ready(notify.notified());
    let (mut first, mut second) = (pin!(notify.notified()), pin!(notify.notified()));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    notify.notify_one();
    assert!(poll(second.as_mut()).is_pending() && poll(first).is_ready());
    notify.notify_waiters();
    assert!(poll(second).is_ready());
    assert!(poll(pin!(notify.notified())).is_pending(), "none was kept");
}

#[test]
fn a_notification_goes_to_the_next_one_or_is_kept_if_who_was_notified_goes_away() {
    let notify = Notify::new();
    for all in [false, true] {
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(notify.notified())).collect();
        for future in &mut waiting {
            assert!(poll(future.as_mut()).is_pending());
        }
        notify.notify_one();
        if all {
            notify.notify_waiters();
        }
        drop(waiting.remove(0));
        assert!(poll(waiting[0].as_mut()).is_ready());
        drop(waiting);
        // The one of `notify_one` was used unless the second had one already.
        assert_eq!(poll(pin!(notify.notified())).is_ready(), all);
    }
    let mut alone = Box::pin(notify.notified());
    assert!(poll(alone.as_mut()).is_pending());
    notify.notify_one();
    drop(alone);
    ready(notify.notified());
}

#[test]
fn whoever_waits_for_a_condition_goes_on_with_the_lock_in_the_order_of_coming() {
    let (mutex, condvar) = (Mutex::new(0), Condvar::new());
    let stand_in_line = |_| {
        let mut future = Box::pin(condvar.wait(ready(mutex.lock())));
        assert!(poll(future.as_mut()).is_pending());
        future
    };
    let mut waiting: Vec<_> = (0..3).map(stand_in_line).collect();
    assert!(mutex.try_lock().is_ok());
    let guard = ready(mutex.lock());
    condvar.notify_many(2);
    for future in &mut waiting {
        assert!(poll(future.as_mut()).is_pending(), "the lock is missing");
    }
    drop(guard);
    let first = poll(waiting[0].as_mut());
    let Poll::Ready(guard) = first else {
        panic!("it was notified")
    };
    assert!(poll(waiting[1].as_mut()).is_pending());
    drop(guard);
    assert!(poll(waiting[1].as_mut()).is_ready());
    assert!(poll(waiting[2].as_mut()).is_pending());
    condvar.notify_all();
    assert!(poll(waiting[2].as_mut()).is_ready());
}

#[test]
fn a_change_is_passed_on_if_who_was_notified_goes_away() {
    // Before it has run, or while it waits for the lock.
    for polled in [false, true] {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        let mut first = Box::pin(condvar.wait(ready(mutex.lock())));
        assert!(poll(first.as_mut()).is_pending());
        let mut second = Box::pin(condvar.wait(ready(mutex.lock())));
        assert!(poll(second.as_mut()).is_pending());
        let guard = ready(mutex.lock());
        condvar.notify_one();
        assert!(!polled || poll(first.as_mut()).is_pending());
        drop(first);
        drop(guard);
        assert!(poll(second.as_mut()).is_ready());
    }
}

#[test]
fn a_condition_is_waited_for_until_it_is_so() {
    let (mutex, condvar) = (Mutex::new(0), Condvar::new());
    let guard = ready(mutex.lock());
    let mut waits = pin!(condvar.wait_while(guard, |value| *value < 2));
    for value in 0..3 {
        assert!(poll(waits.as_mut()).is_pending());
        *ready(mutex.lock()) = value;
        condvar.notify_one();
    }
    let Poll::Ready(guard) = poll(waits) else {
        panic!("it is so")
    };
    assert_eq!(*guard, 2);
    assert!(std::ptr::eq(MutexGuard::mutex(&guard), &raw const mutex));
}

#[test]
fn of_those_who_find_a_cell_empty_one_makes_the_value() {
    let cell = OnceCell::new();
    let made = Cell::new(0);
    let slow = || async {
        made.set(made.get() + 1);
        std::future::pending::<()>().await;
        0
    };
    let mut dropped = Box::pin(cell.get_or_init(slow));
    assert!(poll(dropped.as_mut()).is_pending());
    let mut failing = Box::pin(cell.get_or_try_init(|| async { Err("no") }));
    let mut making = Box::pin(cell.get_or_init(|| async { 7 }));
    let mut waiting = Box::pin(cell.get_or_init(slow));
    assert!(poll(failing.as_mut()).is_pending());
    assert!(poll(making.as_mut()).is_pending() && poll(waiting.as_mut()).is_pending());
    assert_eq!(cell.set(1), Err(SetError::Making(1)));
    drop(dropped);
    assert_eq!(poll(failing.as_mut()), Poll::Ready(Err("no")));
    assert_eq!(poll(making.as_mut()), Poll::Ready(&7));
    assert_eq!(poll(waiting.as_mut()), Poll::Ready(&7));
    assert_eq!((cell.get(), made.get()), (Some(&7), 1));
    assert_eq!(cell.set(1), Err(SetError::Set(1)));
    drop((failing, making, waiting));
    assert_eq!(cell.into_inner(), Some(7));
    let cell = OnceCell::new();
    assert_eq!((cell.set(1), cell.get()), (Ok(()), Some(&1)));
}

#[test]
fn one_value_goes_through_a_oneshot() {
    let (sender, mut receiver) = oneshot::channel();
    assert_eq!(receiver.try_recv(), Err(TryGetError::Empty));
    assert_eq!(sender.send(1), Ok(()));
    assert_eq!(ready(receiver), Ok(1));
    let (sender, receiver) = oneshot::channel();
    drop(receiver);
    assert!(sender.is_closed());
    assert_eq!(sender.send(1), Err(Closed(1)));
    let (sender, mut receiver) = oneshot::channel::<()>();
    drop(sender);
    assert_eq!(receiver.try_recv(), Err(TryGetError::Closed));
    let (mut sender, mut receiver) = oneshot::channel::<()>();
    assert!(poll(pin!(sender.closed())).is_pending());
    receiver.close();
    ready(sender.closed());
    let (sender, mut receiver) = oneshot::channel();
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Err(TryGetError::Closed));
    let (sender, receiver) = oneshot::channel();
    thread::scope(|scope| {
        let waits = scope.spawn(|| receiver.recv_blocking());
        sender.send(7).unwrap();
        assert_eq!(waits.join().unwrap(), Ok(7));
    });
}

#[test]
fn a_channel_ends_when_one_end_has_gone() {
    let (sender, mut receiver) = mpsc::channel(2);
    let other = sender.clone();
    sender.try_send(1).unwrap();
    drop(sender);
    other.try_send(2).unwrap();
    assert_eq!(other.try_send(3), Err(TryPutError::Full(3)));
    drop(other);
    assert_eq!(ready(receiver.recv()), Some(1));
    assert_eq!(ready(receiver.recv_many(8)), [2]);
    assert_eq!(ready(receiver.recv()), None);
    assert_eq!(receiver.try_recv(), Err(TryGetError::Closed));

    let (sender, receiver) = mpsc::channel(1);
    sender.try_send(1).unwrap();
    let mut send = pin!(sender.send(2));
    assert!(poll(send.as_mut()).is_pending() && poll(pin!(sender.closed())).is_pending());
    drop(receiver);
    assert_eq!(poll(send), Poll::Ready(Err(Closed(2))));
    assert!(sender.is_closed());
    ready(sender.closed());
    assert_eq!(sender.try_send(3), Err(TryPutError::Closed(3)));
}

#[test]
fn what_is_not_delivered_is_given_to_the_hook() {
    let undelivered = Arc::new(std::sync::Mutex::new(Vec::new()));
    let hook = |to: &Arc<std::sync::Mutex<Vec<i32>>>| {
        let to = Arc::clone(to);
        move |item| to.lock().unwrap().push(item)
    };
    let (sender, mut receiver) =
        mpsc::from_queue(Queue::bounded(1).on_undelivered(hook(&undelivered)));
    drop(sender.send(1)); // Never polled.
    sender.try_send(2).unwrap();
    let mut waits = Box::pin(sender.send(3));
    assert!(poll(waits.as_mut()).is_pending());
    drop(waits); // In line.
    let mut served = Box::pin(sender.send(4));
    assert!(poll(served.as_mut()).is_pending());
    assert_eq!(receiver.try_recv(), Ok(2));
    assert_eq!(
        sender.try_send(5),
        Err(TryPutError::Full(5)),
        "it was promised"
    );
    drop(served); // With a place that was promised.
    sender.try_send(6).unwrap(); // Thrown away.
    let mut refused = Box::pin(sender.send(7));
    assert!(poll(refused.as_mut()).is_pending());
    drop(receiver);
    drop(refused);
    assert_eq!(*undelivered.lock().unwrap(), [1, 3, 4, 6, 7]);
    let queue = Queue::unbounded().on_undelivered(hook(&undelivered));
    queue.try_put(8).unwrap();
    drop(queue);
    assert_eq!(undelivered.lock().unwrap().pop(), Some(8));
}

#[test]
fn whoever_joins_after_it_has_put_waits_for_that_item() {
    let rounds = if cfg!(miri) { 30 } else { 50_000 };
    let (queue, done) = (Queue::unbounded(), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(number) = queue.get_blocking() {
                done.store(number, Relaxed);
                queue.task_done().unwrap();
            }
        });
        for number in 1..=rounds {
            queue.try_put(number).unwrap();
            queue.join_blocking();
            assert_eq!(done.load(Relaxed), number);
        }
        queue.close();
    });
}

#[test]
fn all_that_is_thrown_away_is_done_whatever_was_said_before() {
    let queue = Queue::unbounded();
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    queue.task_done().unwrap();
    queue.close_now();
    ready(queue.join());
}

#[test]
fn a_receiver_that_lets_nobody_send_is_known_to_senders() {
    let (sender, mut receiver) = mpsc::channel(1);
    sender.try_send(1).unwrap();
    receiver.close();
    ready(sender.closed());
    assert!(sender.is_closed());
    assert_eq!(ready(receiver.recv()), Some(1));
    assert_eq!(ready(receiver.recv()), None);
}

#[test]
fn an_item_that_comes_back_after_all_was_thrown_away_is_thrown_away() {
    let queue = Queue::bounded(1);
    let mut get = Box::pin(queue.get());
    assert!(poll(get.as_mut()).is_pending());
    queue.try_put(1).unwrap();
    queue.close_now();
    let mut join = pin!(queue.join());
    assert!(poll(join.as_mut()).is_pending(), "somebody has it");
    drop(get);
    assert!(poll(join).is_ready());
    assert_eq!(queue.try_get(), Err(TryGetError::Closed));
}

#[test]
fn a_put_without_room_ends_when_its_item_is_taken() {
    let queue = Queue::rendezvous();
    assert_eq!(queue.try_put(1), Err(TryPutError::Full(1)));
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    let mut put = Box::pin(queue.put(9));
    assert!(poll(put.as_mut()).is_pending());
    assert_eq!(ready(queue.get()), Ok(9));
    assert_eq!(poll(put.as_mut()), Poll::Ready(Ok(())));
    // And at once if somebody waits.
    let mut get = Box::pin(queue.get());
    assert!(poll(get.as_mut()).is_pending());
    assert_eq!(queue.try_put(2), Ok(()));
    assert_eq!(poll(get.as_mut()), Poll::Ready(Ok(2)));
    // Whoever goes away leaves nothing, and takes nothing with it.
    let mut put = Box::pin(queue.put(3));
    assert!(poll(put.as_mut()).is_pending());
    drop(put);
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    let mut get = Box::pin(queue.get());
    assert!(poll(get.as_mut()).is_pending());
    assert_eq!(queue.try_put(4), Ok(()));
    drop(get);
    assert_eq!(queue.try_get(), Ok(4));
}

#[test]
fn who_was_given_an_item_gets_the_one_that_comes_first_when_it_runs() {
    let (lifo, least) = (LifoQueue::unbounded(), PriorityQueue::unbounded());
    let (mut newest, mut first) = (pin!(lifo.get()), pin!(least.get()));
    assert!(poll(newest.as_mut()).is_pending() && poll(first.as_mut()).is_pending());
    for number in [2, 1, 3] {
        lifo.try_put(number).unwrap();
        least.try_put(number).unwrap();
    }
    assert_eq!(poll(newest), Poll::Ready(Ok(3)));
    assert_eq!(poll(first), Poll::Ready(Ok(1)));
    assert_eq!((lifo.try_get(), lifo.try_get()), (Ok(1), Ok(2)));
    assert_eq!((least.try_get(), least.try_get()), (Ok(2), Ok(3)));
}

#[test]
fn every_receiver_gets_every_value_that_was_sent_since_it_came() {
    let (sender, mut first) = broadcast::channel(4);
    assert_eq!(first.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(sender.send(1), Ok(1));
    let mut second = sender.subscribe();
    let mut waits = Box::pin(second.recv());
    assert!(poll(waits.as_mut()).is_pending());
    assert_eq!(sender.send(2), Ok(2));
    assert_eq!(poll(waits.as_mut()), Poll::Ready(Ok(2)));
    drop(waits);
    assert_eq!((first.len(), second.is_empty()), (2, true));
    drop(sender);
    assert_eq!((ready(first.recv()), ready(first.recv())), (Ok(1), Ok(2)));
    assert_eq!(ready(first.recv()), Err(RecvError::Closed));
    assert_eq!(second.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_slow_receiver_is_told_how_many_it_has_missed() {
    let (sender, mut slow) = broadcast::channel(2);
    let mut fast = sender.subscribe();
    for number in 0..5 {
        sender.send(number).unwrap();
        assert_eq!(fast.try_recv(), Ok(number));
    }
    assert_eq!(slow.len(), 5);
    assert_eq!(ready(slow.recv()), Err(RecvError::Lagged(3)));
    assert_eq!((slow.try_recv(), slow.try_recv()), (Ok(3), Ok(4)));
    assert_eq!(slow.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn a_broadcast_value_goes_when_the_last_receiver_has_it_or_has_gone() {
    let (sender, mut first) = broadcast::channel(2);
    let value = Arc::new(());
    let (second, third) = (first.resubscribe(), first.resubscribe());
    sender.send(Arc::clone(&value)).unwrap();
    drop(third);
    assert_eq!(Arc::strong_count(&first.try_recv().unwrap()), 3);
    assert_eq!(Arc::strong_count(&value), 2);
    drop(second);
    assert_eq!((Arc::strong_count(&value), sender.is_empty()), (1, true));
    sender.send(Arc::clone(&value)).unwrap();
    first.try_recv().unwrap();
    assert_eq!(Arc::strong_count(&value), 1);
    let mut closed = pin!(sender.closed());
    assert!(poll(closed.as_mut()).is_pending());
    drop(first);
    assert!(poll(closed).is_ready());
    assert_eq!(sender.send(Arc::clone(&value)), Err(Closed(value)));
}

#[test]
fn everybody_sees_the_last_value() {
    let (sender, mut receiver) = watch::channel(0);
    assert_eq!((*receiver.get(), receiver.has_changed()), (0, false));
    let mut changed = Box::pin(receiver.changed());
    assert!(poll(changed.as_mut()).is_pending());
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!(poll(changed.as_mut()), Poll::Ready(Ok(())));
    drop(changed);
    assert_eq!((*receiver.get(), receiver.has_changed()), (2, false));
    assert_eq!(*sender.send_replace(3), 2);
    assert_eq!(
        receiver.clone().has_changed(),
        sender.subscribe().has_changed() ^ true
    );
    assert_eq!(*receiver.get_and_see(), 3);
    sender.send_update(|value| value * 2);
    assert_eq!(*ready(receiver.wait_for(|value| *value == 6)).unwrap(), 6);
    sender.send(7).unwrap();
    drop(sender);
    assert_eq!(ready(receiver.changed()), Ok(()), "the last one is unseen");
    assert_eq!(ready(receiver.changed()), Err(Closed(())));
    assert_eq!(*receiver.get(), 7);
    let (sender, receiver) = watch::channel(0);
    drop(receiver);
    assert_eq!(sender.send(1), Err(Closed(1)));
    ready(sender.closed());
    assert_eq!((*sender.get(), sender.receiver_count()), (0, 0));
}

#[test]
fn each_value_comes_once_or_is_given_back_where_sends_are_dropped() {
    let rounds = if cfg!(miri) { 30 } else { 20_000 };
    for capacity in [0, 1, 3] {
        let back = Arc::new(AtomicUsize::new(0));
        let hook = {
            let back = Arc::clone(&back);
            move |_| {
                back.fetch_add(1, Relaxed);
            }
        };
        let queue = match capacity {
            0 => Queue::rendezvous(),
            capacity => Queue::bounded(capacity),
        };
        let (sender, mut receiver) = mpsc::from_queue(queue.on_undelivered(hook));
        let received = thread::scope(|scope| {
            for from in 0..2 {
                let sender = sender.clone();
                scope.spawn(move || {
                    for number in 0..rounds {
                        let mut send = Box::pin(sender.send((from, number)));
                        if poll(send.as_mut()).is_pending() && number % 3 != 0 {
                            // Cancelled, wherever it is by now.
                            continue;
                        }
                        drop(send);
                    }
                });
            }
            drop(sender);
            let (mut received, mut last) = (0, [None; 2]);
            loop {
                let mut recv = Box::pin(receiver.recv());
                let value = match poll(recv.as_mut()) {
                    Poll::Ready(value) => value,
                    Poll::Pending => {
                        // Cancelled too.
                        drop(recv);
                        receiver.recv_blocking()
                    }
                };
                let Some((from, number)) = value else {
                    break received;
                };
                let before: Option<i32> = last[from as usize].replace(number);
                assert!(before.is_none_or(|before| before < number));
                received += 1;
            }
        });
        assert_eq!(received + back.load(Relaxed), 2 * rounds as usize);
    }
}
