//! Tasks that meet at a lock or a channel. Both are the same for every runtime: what differs is who is woken, where and when.

use std::sync::Arc;

use async_lock::Mutex;

use super::{SelfWake, on_worker};
use crate::backend::Backend;
use crate::figures::{Figures, Stopwatch};

/// Four tasks send `n` messages in all to a fifth, over a channel with room for 100.
pub(super) fn mpsc<B: Backend>(backend: B, n: u64) -> Figures {
    const PRODUCERS: u64 = 4;
    const ROOM: usize = 100;
    let each = n.div_ceil(PRODUCERS);
    on_worker(backend, async move {
        let (sender, receiver) = async_channel::bounded(ROOM);
        let watch = Stopwatch::start();
        for _ in 0..PRODUCERS {
            let sender = sender.clone();
            B::detach(backend.spawn(async move {
                for number in 0..each {
                    sender.send(number).await.expect("there is a consumer");
                }
            }));
        }
        drop(sender);
        let consumer = backend.spawn(async move {
            let mut received = 0;
            while receiver.recv().await.is_ok() {
                received += 1;
            }
            received
        });
        assert_eq!(consumer.await, PRODUCERS * each, "a message is missing");
        watch.stop(PRODUCERS * each)
    })
}

/// Eight tasks take one lock, `n` times in all, and keep it while they give way once, so that the others wait for it.
pub(super) fn mutex_contended<B: Backend>(backend: B, n: u64) -> Figures {
    const TASKS: u64 = 8;
    let each = n.div_ceil(TASKS);
    on_worker(backend, async move {
        let counted = Arc::new(Mutex::new(0));
        let watch = Stopwatch::start();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let counted = Arc::clone(&counted);
                backend.spawn(async move {
                    for _ in 0..each {
                        let mut count = counted.lock().await;
                        SelfWake::default().await;
                        *count += 1;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(*counted.lock().await, TASKS * each, "a turn is missing");
        watch.stop(TASKS * each)
    })
}
