//! Tasks that meet at what users of each runtime take for that: [`Kit`].

use std::future::ready;
use std::sync::Arc;

use super::{SelfWake, on_worker};
use crate::backend::Backend;
use crate::figures::{Figures, Stopwatch};
use crate::kit::Kit;

type Own<B> = <B as Backend>::Kit;

/// Runs `operation` so many times in one task.
fn alone<B, F>(backend: B, n: u64, operation: impl Fn(u64) -> F + Send + 'static) -> Figures
where
    B: Backend,
    F: Future<Output = ()> + Send,
{
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        for number in 0..n {
            operation(number).await;
        }
        watch.stop(n)
    })
}

/// Runs `work` in so many tasks, and waits for them.
fn together<B, F>(
    backend: B,
    n: u64,
    tasks: u64,
    work: impl Fn(u64) -> F + Send + 'static,
) -> Figures
where
    B: Backend,
    F: Future<Output = ()> + Send + 'static,
{
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        let tasks: Vec<_> = (0..tasks).map(|task| backend.spawn(work(task))).collect();
        for task in tasks {
            task.await;
        }
        watch.stop(n)
    })
}

/// Four tasks send `n` messages in all to a fifth, over a channel with room for 100.
pub(super) fn channel_mpsc<B: Backend, K: Kit>(backend: B, n: u64) -> Figures {
    const PRODUCERS: u64 = 4;
    let each = n.div_ceil(PRODUCERS);
    on_worker(backend, async move {
        let (sender, mut receiver) = K::channel(100);
        let watch = Stopwatch::start();
        for _ in 0..PRODUCERS {
            let sender = sender.clone();
            B::detach(backend.spawn(async move {
                for number in 0..each {
                    K::send(&sender, number).await;
                }
            }));
        }
        drop(sender);
        let consumer = backend.spawn(async move {
            let mut received = 0;
            while K::recv(&mut receiver).await.is_some() {
                received += 1;
            }
            received
        });
        assert_eq!(consumer.await, PRODUCERS * each, "a message is missing");
        watch.stop(PRODUCERS * each)
    })
}

/// Four tasks put, and four get, with room for 100.
pub(super) fn queue_mpmc<B: Backend>(backend: B, n: u64) -> Figures {
    const EACH_SIDE: u64 = 4;
    let each = n.div_ceil(EACH_SIDE);
    on_worker(backend, async move {
        let queue = Arc::new(Own::<B>::queue(100));
        let watch = Stopwatch::start();
        let spawn_getter = |_| {
            let queue = Arc::clone(&queue);
            backend.spawn(async move {
                let mut got = 0;
                while Own::<B>::get(&queue).await.is_some() {
                    got += 1;
                }
                got
            })
        };
        let getters: Vec<_> = (0..EACH_SIDE).map(spawn_getter).collect();
        let spawn_putter = |_| {
            let queue = Arc::clone(&queue);
            backend.spawn(async move {
                for number in 0..each {
                    Own::<B>::put(&queue, number).await;
                }
            })
        };
        let putters: Vec<_> = (0..EACH_SIDE).map(spawn_putter).collect();
        for putter in putters {
            putter.await;
        }
        Own::<B>::close(&queue);
        let mut got = 0;
        for getter in getters {
            got += getter.await;
        }
        assert_eq!(got, EACH_SIDE * each, "an item is missing");
        watch.stop(got)
    })
}

/// One value through a channel for one, in one task.
pub(super) fn oneshot<B: Backend>(backend: B, n: u64) -> Figures {
    alone(backend, n, |number| async move {
        let (sender, receiver) = Own::<B>::once();
        Own::<B>::send_once(sender, number);
        assert_eq!(Own::<B>::recv_once(receiver).await, number);
    })
}

/// One task locks and unlocks.
pub(super) fn mutex_uncontended<B: Backend>(backend: B, n: u64) -> Figures {
    let mutex = Arc::new(Own::<B>::mutex());
    alone(backend, n, move |number| {
        let mutex = Arc::clone(&mutex);
        async move { assert_eq!(Own::<B>::add(&mutex, ready(())).await, number + 1) }
    })
}

/// Eight tasks take one lock, `n` times in all, and keep it while they give way once.
pub(super) fn mutex_contended<B: Backend, K: Kit>(backend: B, n: u64) -> Figures {
    let (mutex, each) = (Arc::new(K::mutex()), n.div_ceil(8));
    together(backend, 8 * each, 8, move |_| {
        let mutex = Arc::clone(&mutex);
        async move {
            for _ in 0..each {
                K::add(&mutex, SelfWake::default()).await;
            }
        }
    })
}

/// Eight tasks take two permits in turn, and keep one while they give way once.
pub(super) fn semaphore<B: Backend>(backend: B, n: u64) -> Figures {
    let (semaphore, each) = (Arc::new(Own::<B>::semaphore(2)), n.div_ceil(8));
    together(backend, 8 * each, 8, move |_| {
        let semaphore = Arc::clone(&semaphore);
        async move {
            for _ in 0..each {
                Own::<B>::with_permit(&semaphore, SelfWake::default()).await;
            }
        }
    })
}

/// Two tasks notify each other.
pub(super) fn notify<B: Backend>(backend: B, n: u64) -> Figures {
    let pair = Arc::new([Own::<B>::notify(), Own::<B>::notify()]);
    together(backend, n, 2, move |side| {
        let pair = Arc::clone(&pair);
        async move {
            let (mine, other) = (&pair[side as usize], &pair[1 - side as usize]);
            for _ in 0..n {
                if side == 0 {
                    Own::<B>::notify_one(other);
                    Own::<B>::notified(mine).await;
                } else {
                    Own::<B>::notified(mine).await;
                    Own::<B>::notify_one(other);
                }
            }
        }
    })
}

/// One sends to four receivers, which are polled in the same task.
pub(super) fn broadcast<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        let (caster, mut listeners) = Own::<B>::broadcast(16, 4);
        let watch = Stopwatch::start();
        for number in 0..n {
            Own::<B>::cast(&caster, number);
            for listener in &mut listeners {
                assert_eq!(Own::<B>::hear(listener).await, number);
            }
        }
        watch.stop(n)
    })
}

/// Two tasks wait for each other's next value.
pub(super) fn watch<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        let (ping, mut pinged) = Own::<B>::watch();
        let (pong, mut ponged) = Own::<B>::watch();
        let stopwatch = Stopwatch::start();
        let other = backend.spawn(async move {
            for number in 1..=n {
                assert_eq!(Own::<B>::changed(&mut pinged).await, number);
                Own::<B>::set(&pong, number);
            }
            // The last value is seen before this end goes.
            pong
        });
        for number in 1..=n {
            Own::<B>::set(&ping, number);
            assert_eq!(Own::<B>::changed(&mut ponged).await, number);
        }
        drop(other.await);
        stopwatch.stop(n)
    })
}

/// A group of `n` tasks that do nothing.
pub(super) fn group_spawn_join<B: Backend>(backend: B, n: u64) -> Figures {
    on_worker(backend, async move {
        let watch = Stopwatch::start();
        Own::<B>::group(backend, n).await;
        watch.stop(n)
    })
}

/// A limit around a future that is ready.
pub(super) fn timeout_ready<B: Backend>(backend: B, n: u64) -> Figures {
    alone(backend, n, |_| Own::<B>::timeout_ready())
}
