//! What is told of tasks that block their workers.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "support/blocks.rs"]
mod blocks;
#[cfg(target_os = "linux")]
#[path = "support/proc.rs"]
mod proc;
mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use blocks::{Gate, PATIENCE, block, heard};
use heist::Runtime;
use heist::runtime::{Activity, Stall};
use heist::task::{block_in_place, yield_now};
use support::bounded;

#[test]
fn that_no_further_thread_may_serve_is_told_once() {
    bounded(|| {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let runtime = Runtime::builder()
            .worker_threads(2)
            .max_spare_workers(2)
            .exception_handler(move |e| tell.lock().unwrap().send(e.to_string()).unwrap())
            .build()
            .unwrap();
        let gate = Gate::new();
        let blocked = block(&runtime, 4, &gate);
        let waits = runtime.spawn(async {});
        let report = heard(&told, "there is nobody left who could serve");
        assert!(report.contains("no further thread may serve"), "{report}");
        while runtime.handle().metrics().stalls < 4 {
            thread::yield_now();
        }
        // Time for what must not happen.
        thread::sleep(Duration::from_millis(60));
        // It waits, and is not lost.
        assert!(!waits.is_finished());
        gate.open();
        runtime.block_on(waits).unwrap();
        blocked
            .into_iter()
            .for_each(|task| runtime.block_on(task).unwrap());
        assert!(runtime.shutdown(Duration::from_secs(5)).is_clean());
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [] as [String; 0]);
    });
}

#[test]
fn a_stall_is_told_while_it_lasts_and_when_it_has_ended() {
    bounded(|| {
        let (tell, told) = channel::<Stall>();
        let tell = Mutex::new(tell);
        let runtime = Runtime::builder()
            .worker_threads(1)
            .thread_name("stalls")
            .on_stall(move |stall| tell.lock().unwrap().send(stall.clone()).unwrap())
            .build()
            .unwrap();
        let gate = Gate::new();
        let shut = gate.clone();
        let entered = runtime.enter();
        let task = heist::task::Builder::new()
            .name("blocks")
            .spawn(async move { shut.wait() });
        drop(entered);
        let begin = heard(&told, "it is told while it lasts");
        assert!(!task.is_finished() && !begin.ended);
        let view = begin.task.clone().expect("the task is known");
        assert_eq!((view.name(), view.id()), ("blocks".to_owned(), task.id()));
        assert_eq!(view.spawn_location(), task.task_ref().spawn_location());
        assert!(begin.elapsed >= Duration::from_millis(10), "{begin:?}");
        assert!(begin.thread.starts_with("stalls-"), "{begin:?}");
        if cfg!(target_os = "linux") {
            assert!(
                matches!(begin.activity, Activity::Blocked { .. }),
                "{begin:?}"
            );
        }
        let metrics = runtime.handle().metrics();
        assert_eq!(
            (metrics.stalls, &metrics.stalled[..]),
            (1, &[begin.clone()][..])
        );
        gate.open();
        let end = heard(&told, "it is told when it has ended");
        assert!(end.ended && end.elapsed >= begin.elapsed, "{end:?}");
        assert_eq!(end.task, begin.task);
        runtime.block_on(task).unwrap();
        assert!(runtime.handle().metrics().stalled.is_empty());
        assert!(told.try_recv().is_err(), "once each");
    });
}

#[test]
fn a_hook_for_stalls_that_panics_is_reported_and_called_again() {
    bounded(|| {
        let (tell, told): (Sender<String>, _) = channel();
        let tell = Mutex::new(tell);
        let runtime = Runtime::builder()
            .worker_threads(1)
            .on_stall(|stall| panic!("ended: {}", stall.ended))
            .exception_handler(move |e| tell.lock().unwrap().send(e.to_string()).unwrap())
            .build()
            .unwrap();
        let gate = Gate::new();
        let blocked = block(&runtime, 1, &gate);
        let first = heard(&told, "the panic is reported");
        assert!(first.contains("on_stall panicked: ended: false"), "{first}");
        gate.open();
        let second = heard(&told, "and the next one");
        assert!(second.contains("ended: true"), "{second}");
        blocked
            .into_iter()
            .for_each(|task| runtime.block_on(task).unwrap());
    });
}

#[test]
fn what_is_announced_is_no_stall() {
    // So much that nobody waits for a processor for as long.
    const THRESHOLD: Duration = Duration::from_millis(200);
    bounded(|| {
        let (tell, told) = channel::<Stall>();
        let tell = Mutex::new(tell);
        let runtime = Runtime::builder()
            .worker_threads(2)
            .blocked_worker_threshold(Some(THRESHOLD))
            .on_stall(move |stall| tell.lock().unwrap().send(stall.clone()).unwrap())
            .build()
            .unwrap();
        let announces = runtime.spawn(async {
            block_in_place(|| thread::sleep(2 * THRESHOLD));
            heist::block_on(heist::time::sleep(2 * THRESHOLD));
        });
        let announced = announces.id();
        let yields = runtime.spawn(async move {
            // The monitor makes its rounds meanwhile.
            while !announces.is_finished() {
                yield_now().await;
            }
        });
        runtime.block_on(yields).unwrap();
        // And now it rests, until the task is back and goes on for a while.
        let resumes = runtime.spawn(async {
            block_in_place(|| thread::sleep(2 * THRESHOLD));
            let back = Instant::now();
            while back.elapsed() < THRESHOLD / 4 {
                std::hint::spin_loop();
            }
        });
        let announced = [announced, resumes.id()];
        runtime.block_on(resumes).unwrap();
        let blocks = runtime.spawn(async { thread::sleep(2 * THRESHOLD) });
        let blocked = blocks.id();
        runtime.block_on(blocks).unwrap();
        loop {
            let stall = heard(&told, "a stall that nobody has announced");
            let id = stall.task.map(|task| task.id());
            assert!(id.is_none_or(|id| !announced.contains(&id)));
            if id == Some(blocked) {
                break;
            }
        }
    });
}

#[test]
fn the_end_of_a_stall_is_told_when_the_runtime_ends_too() {
    bounded(|| {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let runtime = Runtime::builder()
            .worker_threads(1)
            .thread_name("ends")
            .on_stall(move |stall| tell.lock().unwrap().send(stall.clone()).unwrap())
            .build()
            .unwrap();
        let (send, received) = channel::<()>();
        runtime.spawn(async move { _ = received.recv() }).detach();
        let begin = heard(&told, "the begin of a stall");
        let handle = runtime.handle().clone();
        let ends = thread::spawn(move || runtime.shutdown(Duration::ZERO));
        while begin.task.as_ref().unwrap().cancelling() == 0 {
            thread::yield_now();
        }
        // The monitor goes away before it.
        #[cfg(target_os = "linux")]
        while !proc::threads("ends-monitor").is_empty() {
            thread::yield_now();
        }
        drop(send);
        ends.join().unwrap();
        let end = heard(&told, "its end");
        assert!(end.ended && end.elapsed >= begin.elapsed);
        assert_eq!(handle.metrics().stalled, []);
    });
}

#[test]
fn whoever_is_told_of_a_stall_may_wait_for_what_is_stuck_behind_it() {
    bounded(|| {
        let (send, sent) = channel();
        let (tell, told) = channel();
        let ends = Mutex::new((sent, tell));
        let runtime = Runtime::builder()
            .worker_threads(1)
            .on_stall(move |stall| {
                if !stall.ended {
                    let (sent, tell) = &*ends.lock().unwrap();
                    tell.send(sent.recv_timeout(PATIENCE)).unwrap();
                }
            })
            .build()
            .unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let computes = runtime.spawn(async move {
            heist::spawn(async move { send.send(7).unwrap() }).detach();
            let begun = Instant::now();
            while !until.load(SeqCst) && begun.elapsed() < PATIENCE {
                std::hint::spin_loop();
            }
        });
        let heard = heard(&told, "a stall");
        over.store(true, SeqCst);
        runtime.block_on(computes).unwrap();
        assert_eq!(heard, Ok(7), "it runs while the hook waits for it");
    });
}
