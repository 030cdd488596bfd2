//! How often threads sleep and wake each other.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(target_os = "linux")]

#[path = "support/proc.rs"]
mod proc;
mod support;

use std::fs;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use heist::task::yield_now;
use heist::{Runtime, promise};
use support::{alone, lone_worker, runtime};

fn sleeps(runtime: &Runtime) -> u64 {
    let workers = runtime.handle().metrics().workers;
    workers.iter().map(|worker| worker.parks).sum()
}

/// How often somebody was waked out of a poller: its counter is never read, so it has each write in it.
fn rings() -> u64 {
    proc::event_counters().iter().map(|(_, count)| count).sum()
}

#[test]
fn tasks_that_are_woken_at_once_wake_no_herd_of_workers() {
    // How often a worker finds nothing left and sleeps in between varies much from storm to storm, and less in their sum.
    const STORMS: usize = 8;
    const TASKS: usize = 100_000 / STORMS;
    alone(|| {
        let runtime = runtime(4);
        let (mut slept, mut rung) = (0, 0);
        for storm in 0..STORMS {
            let (open, gate) = promise::<()>();
            let gate = gate.share();
            // Polls that are left until all wait, and until all are over.
            let left = Arc::new([AtomicUsize::new(TASKS), AtomicUsize::new(TASKS)]);
            let (told, hears) = channel();
            for _ in 0..TASKS {
                let (mut gate, left, told) = (gate.clone(), Arc::clone(&left), told.clone());
                let waits = poll_fn(move |cx| {
                    let polled = Pin::new(&mut gate).poll(cx);
                    let over = polled.is_ready();
                    if left[usize::from(over)].fetch_sub(1, Ordering::SeqCst) == 1 {
                        told.send(over).unwrap();
                    }
                    polled
                });
                runtime.spawn(waits).detach();
            }
            assert!(!hears.recv().unwrap());
            while runtime.handle().metrics().sleeping_workers < 4 {
                thread::yield_now();
            }

            let before = (sleeps(&runtime), rings());
            if storm % 2 == 0 {
                open.set_result(()).unwrap();
            } else {
                runtime.spawn(async move { open.set_result(()) }).detach();
            }
            assert!(hears.recv().unwrap());
            slept += sleeps(&runtime) - before.0;
            rung += rings() - before.1;
        }
        assert!(slept < 5_000, "{slept} sleeps");
        assert!(rung < 100, "{rung} wake-ups out of the poller");
    });
}

/// A place for one message, and who waits for it.
#[derive(Default)]
struct Place(Mutex<(Option<Message>, Option<Waker>)>);

type Message = [u8; 64];

impl Place {
    fn put(&self, message: Message) {
        let mut place = self.0.lock().unwrap();
        place.0 = Some(message);
        let waker = place.1.take();
        drop(place);
        waker.inspect(Waker::wake_by_ref);
    }

    fn take(&self) -> impl Future<Output = Message> + '_ {
        poll_fn(|cx| {
            let mut place = self.0.lock().unwrap();
            if let Some(message) = place.0.take() {
                return Poll::Ready(message);
            }
            place.1 = Some(cx.waker().clone());
            Poll::Pending
        })
    }
}

/// How often the threads of workers with this name have given their processors away because they had to wait.
fn waits_of_workers(name: &str) -> u64 {
    let threads = proc::threads(name);
    let status = threads.iter().map(|thread| proc::status(thread));
    status
        .filter(|status| !proc::field(status, "Name:").ends_with("-monitor"))
        .map(|status| waits_in(&status))
        .sum()
}

#[test]
fn a_message_that_goes_from_task_to_task_wakes_one_worker() {
    const WORKERS: usize = 4;
    const TASKS: usize = size_of::<Message>();
    const MESSAGES: u64 = 100;
    alone(|| {
        let builder = Runtime::builder().worker_threads(WORKERS);
        let runtime = builder.thread_name("relay").build().unwrap();
        let places: Arc<Vec<_>> = Arc::new((0..TASKS).map(|_| Place::default()).collect());
        let (tell, told) = channel();
        for task in 0..TASKS {
            let (places, tell) = (Arc::clone(&places), tell.clone());
            let passes_on = async move {
                loop {
                    let mut message = places[task].take().await;
                    message[task] += 1;
                    match places.get(task + 1) {
                        Some(next) => next.put(message),
                        None => tell.send(message).unwrap(),
                    }
                }
            };
            runtime.spawn(passes_on).detach();
        }
        let all_sleep = || {
            while runtime.handle().metrics().sleeping_workers < WORKERS {
                thread::yield_now();
            }
        };
        all_sleep();
        let before = (sleeps(&runtime), waits_of_workers("relay-"));
        for _ in 0..MESSAGES {
            places[0].put([0; 64]);
            let message = told.recv().unwrap();
            assert_eq!(message, [1; TASKS]);
            all_sleep();
        }
        let sleeps = sleeps(&runtime) - before.0;
        let waits = waits_of_workers("relay-") - before.1;
        // It is one of each.
        assert!(2 * sleeps < 3 * MESSAGES, "{sleeps} sleeps");
        assert!(2 * waits < 3 * MESSAGES, "{waits} waits");
    });
}

/// How often the calling thread has given its processor away because it had to wait.
fn waits() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    waits_in(&status)
}

fn waits_in(status: &str) -> u64 {
    let waits = proc::field(status, "voluntary_ctxt_switches:");
    waits.parse().unwrap()
}

#[test]
fn a_worker_that_spawns_never_waits_for_inspectors() {
    const BATCHES: usize = 100;
    const BATCH: usize = 1_000;
    alone(|| {
        let runtime = lone_worker();
        let over = Arc::new(AtomicBool::new(false));
        let looks = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let inspectors = [0, 1].map(|which| {
            let handle = runtime.handle().clone();
            let (looks, over) = (Arc::clone(&looks), Arc::clone(&over));
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    drop(handle.all_tasks());
                    looks[which].fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let spawner = runtime.spawn(async move {
            let done = Arc::new(AtomicUsize::new(0));
            let mut waited = 0;
            let looked = |look: &AtomicUsize| look.load(Ordering::SeqCst) >= BATCHES;
            for batch in 1.. {
                let before = waits();
                for _ in 0..BATCH {
                    let done = Arc::clone(&done);
                    heist::spawn(async move { done.fetch_add(1, Ordering::Relaxed) }).detach();
                }
                waited += waits() - before;
                while done.load(Ordering::Relaxed) < batch * BATCH {
                    yield_now().await;
                }
                if batch >= BATCHES && looks.iter().all(looked) {
                    break;
                }
            }
            waited
        });
        let waited = spawner.wait_blocking().unwrap();
        over.store(true, Ordering::SeqCst);
        for inspector in inspectors {
            inspector.join().unwrap();
        }
        // A page that the system has to find is waited for, too.
        assert!(waited < 10, "{waited} times");
    });
}
