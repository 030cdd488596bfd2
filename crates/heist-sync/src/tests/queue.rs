//! Queues, polled by hand.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use super::{poll, ready};
use crate::{
    Closed, Fifo, Lifo, LifoQueue, OrderedQueue, Priority, PriorityQueue, Queue, Store,
    TryGetError, TryPutError,
};

#[test]
fn a_queue_that_is_closed_gives_what_is_left() {
    let queue = Queue::bounded(2);
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    assert_eq!(queue.try_put(3), Err(TryPutError::Full(3)));
    assert!(queue.is_full());
    let mut put = pin!(queue.put(3));
    assert!(poll(put.as_mut()).is_pending());
    queue.close();
    queue.close();
    assert_eq!(poll(put), Poll::Ready(Err(Closed(3))));
    assert_eq!(queue.try_put(4), Err(TryPutError::Closed(4)));
    assert_eq!((ready(queue.get()), queue.try_get()), (Ok(1), Ok(2)));
    assert_eq!(ready(queue.get()), Err(Closed(())));
    assert_eq!(queue.try_get(), Err(TryGetError::Closed));
}

#[test]
fn a_queue_that_is_closed_now_throws_all_away_and_lets_those_go_who_join() {
    let queue = Queue::unbounded();
    let item = Arc::new(());
    for _ in 0..3 {
        queue.try_put(Arc::clone(&item)).unwrap();
    }
    let mut join = pin!(queue.join());
    assert!(poll(join.as_mut()).is_pending());
    queue.close_now();
    assert!(poll(join).is_ready());
    assert_eq!((queue.len(), Arc::strong_count(&item)), (0, 1));
    assert!(queue.try_get().is_err());
}

#[test]
fn who_gets_an_item_may_say_that_it_is_done_once() {
    let queue = Queue::unbounded();
    assert!(queue.task_done().is_err());
    ready(queue.join());
    queue.try_put(1).unwrap();
    queue.try_put(2).unwrap();
    let mut join = pin!(queue.join());
    for _ in 0..2 {
        assert!(poll(join.as_mut()).is_pending());
        queue.try_get().unwrap();
        queue.task_done().unwrap();
    }
    assert!(queue.task_done().is_err());
    assert!(poll(join).is_ready());
}

#[test]
fn an_item_goes_to_the_next_one_if_who_was_served_goes_away() {
    let queue = Queue::bounded(1);
    let mut getting: Vec<_> = (0..2).map(|_| Box::pin(queue.get())).collect();
    for future in &mut getting {
        assert!(poll(future.as_mut()).is_pending());
    }
    queue.try_put(1).unwrap();
    assert_eq!(queue.try_get(), Err(TryGetError::Empty), "it has an owner");
    drop(getting.remove(0));
    assert_eq!(poll(getting[0].as_mut()), Poll::Ready(Ok(1)));
    // And a place, if who waited for it goes away.
    queue.try_put(2).unwrap();
    let (mut first, mut second) = (Box::pin(queue.put(3)), Box::pin(queue.put(4)));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    assert_eq!(queue.try_get(), Ok(2));
    drop(first);
    assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(())));
    assert_eq!(queue.try_get(), Ok(4));
}

#[test]
fn queues_have_their_orders() {
    let (fifo, lifo, least) = (
        Queue::unbounded(),
        LifoQueue::unbounded(),
        PriorityQueue::unbounded(),
    );
    for number in [2, 3, 1] {
        fifo.try_put(number).unwrap();
        lifo.try_put(number).unwrap();
        least.try_put(number).unwrap();
    }
    assert_eq!([(); 3].map(|()| fifo.try_get().unwrap()), [2, 3, 1]);
    assert_eq!([(); 3].map(|()| lifo.try_get().unwrap()), [1, 3, 2]);
    assert_eq!([(); 3].map(|()| least.try_get().unwrap()), [1, 2, 3]);
}

#[test]
fn items_that_come_back_in_any_order_keep_theirs() {
    fn given_back<S: Store<Item = u32>>() -> Vec<u32> {
        let queue = OrderedQueue::<S>::unbounded();
        let mut getting: Vec<_> = (0..3).map(|_| Box::pin(queue.get())).collect();
        for future in &mut getting {
            assert!(poll(future.as_mut()).is_pending());
        }
        for item in 0..4 {
            queue.try_put(item).unwrap();
        }
        for at in [1, 0, 0] {
            drop(getting.remove(at));
        }
        queue.drain(4)
    }

    assert_eq!(given_back::<Fifo<_>>(), [0, 1, 2, 3]);
    assert_eq!(given_back::<Priority<_>>(), [0, 1, 2, 3]);
    assert_eq!(given_back::<Lifo<_>>(), [3, 2, 1, 0]);
}

#[test]
fn of_items_that_are_equal_the_first_comes_first() {
    #[derive(Debug)]
    struct ByRank(u32, &'static str);

    impl Ord for ByRank {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for ByRank {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for ByRank {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }

    impl Eq for ByRank {}

    let queue = PriorityQueue::unbounded();
    for item in [
        ByRank(2, "a"),
        ByRank(1, "b"),
        ByRank(2, "c"),
        ByRank(1, "d"),
        ByRank(2, "e"),
    ] {
        queue.try_put(item).unwrap();
    }
    let order: Vec<_> = queue.drain(5).iter().map(|item| item.1).collect();
    assert_eq!(order, ["b", "d", "a", "c", "e"]);
}

#[test]
fn who_gets_from_a_closed_queue_waits_for_an_item_that_may_come_back() {
    let queue = Queue::unbounded();
    let mut first = Box::pin(queue.get());
    assert!(poll(first.as_mut()).is_pending());
    queue.try_put(1).unwrap();
    queue.close();
    let mut second = Box::pin(queue.get());
    assert!(poll(second.as_mut()).is_pending());
    assert_eq!(queue.try_get(), Err(TryGetError::Empty));
    drop(first);
    let mut third = Box::pin(queue.get());
    assert!(poll(third.as_mut()).is_pending());
    assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(1)));
    assert!(matches!(poll(third.as_mut()), Poll::Ready(Err(Closed(())))));
    assert_eq!(queue.try_get(), Err(TryGetError::Closed));
}

#[test]
fn ten_thousand_who_wait_learn_that_the_queue_is_closed() {
    let queue = Queue::<()>::unbounded();
    let count = if cfg!(miri) { 50 } else { 10_000 };
    let mut getting: Vec<_> = (0..count).map(|_| Box::pin(queue.get())).collect();
    for future in &mut getting {
        assert!(poll(future.as_mut()).is_pending());
    }
    queue.close();
    for future in &mut getting {
        assert_eq!(poll(future.as_mut()), Poll::Ready(Err(Closed(()))));
    }
}

#[test]
fn threads_that_race_for_items_get_each_once() {
    let items = if cfg!(miri) { 5 } else { 1000 };
    let queue = Queue::bounded(2);
    let total = thread::scope(|scope| {
        let getters: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut total = 0;
                    loop {
                        // Stands in line, and may be served at the moment in which it goes away.
                        if let Poll::Ready(Ok(item)) = poll(pin!(queue.get())) {
                            total += item;
                            queue.task_done().unwrap();
                        }
                        let Ok(item) = queue.get_blocking() else {
                            return total;
                        };
                        total += item;
                        queue.task_done().unwrap();
                    }
                })
            })
            .collect();
        let putters: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| (0..items).for_each(|item| queue.put_blocking(item).unwrap())))
            .collect();
        for putter in putters {
            putter.join().unwrap();
        }
        queue.join_blocking();
        queue.close();
        getters
            .into_iter()
            .map(|getter| getter.join().unwrap())
            .sum::<usize>()
    });
    assert_eq!(total, items * (items - 1));
}
