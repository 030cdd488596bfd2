//! One task that is woken from everywhere at once.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker};

use heist::task::yield_now;

use super::Scene;
use crate::guard::Guard;

/// A waker that is woken often, and once more when this is dropped.
struct Waking {
    #[expect(dead_code, reason = "it is there to be dropped")]
    guard: Guard,
    waker: Waker,
    left: Arc<AtomicUsize>,
}

impl Drop for Waking {
    fn drop(&mut self) {
        self.left.fetch_sub(1, SeqCst);
        self.waker.wake_by_ref();
    }
}

pub(super) async fn storm(scene: &Scene, tasks: u8, threads: u8) {
    let left = Arc::new(AtomicUsize::new((tasks + threads).into()));
    let mut begun = false;
    poll_fn(|cx| {
        if !std::mem::replace(&mut begun, true) {
            start_storm(scene, cx, tasks, threads, &left);
        }
        if left.load(SeqCst) == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

fn start_storm(scene: &Scene, cx: &Context<'_>, tasks: u8, threads: u8, left: &Arc<AtomicUsize>) {
    let waking = || Waking {
        guard: scene.world.guard(),
        waker: cx.waker().clone(),
        left: Arc::clone(left),
    };
    for _ in 0..tasks {
        let waking = waking();
        let task = async move {
            for _ in 0..5 {
                waking.waker.wake_by_ref();
                drop(waking.waker.clone());
                yield_now().await;
            }
        };
        scene.world.place(0).handle().spawn(task).detach();
    }
    for _ in 0..threads {
        let waking = waking();
        scene.world.thread(move || {
            for _ in 0..20 {
                waking.waker.wake_by_ref();
            }
        });
    }
}
