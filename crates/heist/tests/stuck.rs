//! Workers that are stuck in a poll, and what else they would have done: the driver, timers, their LIFO slots.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(unix)]

#[path = "support/blocks.rs"]
mod blocks;
mod support;

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream as StdTcpStream;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use blocks::{PATIENCE, heard};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::net::{TcpListener, UnixStream};
use heist::task::yield_now;
use heist::time::sleep;
use heist::{Runtime, promise};
use support::{bounded, left_alone, runtime};

const MS: Duration = Duration::from_millis(1);

/// How a poll keeps its worker.
#[derive(Clone, Copy, Debug)]
enum Stuck {
    Blocks,
    Computes,
}

const WAYS: [Stuck; 2] = [Stuck::Blocks, Stuck::Computes];

/// Raised once.
#[derive(Clone, Debug, Default)]
struct Flag(Arc<(Mutex<bool>, Condvar, AtomicBool)>);

impl Flag {
    fn raise(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
        self.0.2.store(true, SeqCst);
    }

    /// Whether it is raised before patience is over. Keeps the thread until then.
    fn wait(&self, how: Stuck) -> bool {
        match how {
            Stuck::Blocks => {
                let raised = self.0.0.lock().unwrap();
                let raised = self
                    .0
                    .1
                    .wait_timeout_while(raised, PATIENCE, |raised| !*raised);
                !raised.unwrap().1.timed_out()
            }
            Stuck::Computes => {
                let begun = Instant::now();
                while !self.0.2.load(SeqCst) && begun.elapsed() < PATIENCE {
                    std::hint::spin_loop();
                }
                self.0.2.load(SeqCst)
            }
        }
    }
}

#[track_caller]
fn all_sleep(runtime: &Runtime, workers: usize) {
    let begun = Instant::now();
    while runtime.handle().metrics().sleeping_workers != workers {
        assert!(
            begun.elapsed() < PATIENCE,
            "{:?}",
            runtime.handle().metrics()
        );
        thread::yield_now();
    }
}

/// What a task is woken for by whoever is in the driver.
#[derive(Clone, Copy, Debug)]
enum Waits {
    ForATimer,
    ForASocket,
}

const DRIVEN: [Waits; 2] = [Waits::ForATimer, Waits::ForASocket];

impl Waits {
    /// The wait, and what leads to its end, unless that is time.
    fn begin(
        self,
        time: Duration,
    ) -> (Pin<Box<dyn Future<Output = ()> + Send>>, Option<StdStream>) {
        match self {
            Self::ForATimer => (Box::pin(sleep(time)), None),
            Self::ForASocket => {
                let (ours, theirs) = StdStream::pair().unwrap();
                let waits = async move {
                    let mut ours = UnixStream::try_from(ours).unwrap();
                    ours.read_exact(&mut [0]).await.unwrap();
                };
                (Box::pin(waits), Some(theirs))
            }
        }
    }
}

#[test]
fn timers_and_sockets_are_served_while_whom_the_driver_has_woken_is_stuck() {
    let helped = [1, 2, 4].map(|workers| (workers, runtime as fn(usize) -> Runtime));
    // Where nobody may stand in, one that sleeps goes to the driver.
    let alone = [2, 4].map(|workers| (workers, left_alone as fn(usize) -> Runtime));
    for (workers, runtime) in helped.into_iter().chain(alone) {
        for how in WAYS {
            for (first, second) in DRIVEN.into_iter().flat_map(|a| DRIVEN.map(|b| (a, b))) {
                bounded(move || {
                    let case = format!("{workers} workers, {how:?}, {first:?}, {second:?}");
                    let runtime = runtime(workers);
                    let served = Flag::default();
                    let raised = served.clone();
                    let (waits, later) = second.begin(60 * MS);
                    let second = runtime.spawn(async move {
                        waits.await;
                        raised.raise();
                    });
                    let (inside, enters) = channel();
                    let (waits, sooner) = first.begin(10 * MS);
                    let first = runtime.spawn(async move {
                        waits.await;
                        inside.send(()).unwrap();
                        served.wait(how)
                    });
                    if let Some(mut sooner) = sooner {
                        // Only who is in the driver gets up for this.
                        all_sleep(&runtime, workers);
                        sooner.write_all(b"x").unwrap();
                    }
                    heard(&enters, &case);
                    if let Some(mut later) = later {
                        later.write_all(b"x").unwrap();
                    }
                    assert!(runtime.block_on(first).unwrap(), "{case}");
                    runtime.block_on(second).unwrap();
                });
            }
        }
    }
}

#[test]
fn spawns_and_wakes_from_outside_run_while_all_workers_are_stuck() {
    for workers in [1, 2, 4] {
        for how in WAYS {
            bounded(move || {
                let case = |what| format!("{workers} workers, {how:?}: {what}");
                let runtime = runtime(workers);
                let (tell, told) = channel();
                let (wake, woken) = promise::<()>();
                let woken_tells = tell.clone();
                let waits = runtime.spawn(async move {
                    woken.await.unwrap();
                    woken_tells.send("wake").unwrap();
                });
                all_sleep(&runtime, workers);
                let (over, (inside, enters)) = (Flag::default(), channel());
                let stuck: Vec<_> = (0..workers)
                    .map(|_| {
                        let (over, inside) = (over.clone(), inside.clone());
                        runtime.spawn(async move {
                            inside.send(()).unwrap();
                            over.wait(how)
                        })
                    })
                    .collect();
                for _ in 0..workers {
                    heard(&enters, &case("a worker for each of them"));
                }
                for _ in 0..5 {
                    let tell = tell.clone();
                    runtime
                        .spawn(async move { tell.send("spawn").unwrap() })
                        .detach();
                    assert_eq!(heard(&told, &case("a spawned task runs")), "spawn");
                }
                wake.set_result(()).unwrap();
                assert_eq!(heard(&told, &case("a woken task runs")), "wake");
                assert!(stuck.iter().all(|task| !task.is_finished()));
                over.raise();
                for stuck in stuck {
                    assert!(runtime.block_on(stuck).unwrap());
                }
                runtime.block_on(waits).unwrap();
            });
        }
    }
}

#[test]
fn a_worker_that_sleeps_takes_the_lifo_slot_of_one_that_is_stuck() {
    for how in WAYS {
        for spawned in [true, false] {
            bounded(move || {
                let builder = Runtime::builder().worker_threads(2).max_spare_workers(0);
                // Told that there are no spares, if the other worker takes longer than it should.
                let runtime = builder.exception_handler(|_| {}).build().unwrap();
                let own = runtime.handle().clone();
                let ran = Flag::default();
                let (wake, woken) = promise::<()>();
                let raised = ran.clone();
                let waits = runtime.spawn(async move {
                    if woken.await.is_ok() {
                        raised.raise();
                    }
                });
                all_sleep(&runtime, 2);
                let stuck = runtime.spawn(async move {
                    while own.metrics().sleeping_workers != 1 {
                        thread::yield_now();
                    }
                    // Nobody is told of what comes into an empty slot.
                    if spawned {
                        let raised = ran.clone();
                        heist::spawn(async move { raised.raise() }).detach();
                    } else {
                        wake.set_result(()).unwrap();
                    }
                    ran.wait(how)
                });
                let taken = runtime.block_on(stuck).unwrap();
                assert!(taken, "{how:?}, spawned: {spawned}");
                runtime.block_on(waits).unwrap();
            });
        }
    }
}

/// Naps that have begun and that have ended.
#[derive(Default)]
struct Naps(AtomicUsize, AtomicUsize);

impl Naps {
    const LENGTH: Duration = Duration::from_millis(200);

    fn take(&self) {
        self.0.fetch_add(1, SeqCst);
        thread::sleep(Self::LENGTH);
        self.1.fetch_add(1, SeqCst);
    }

    fn ended(&self) -> usize {
        self.1.load(SeqCst)
    }
}

#[test]
fn a_client_is_answered_while_all_workers_sleep_in_their_polls() {
    const WORKERS: usize = 2;
    const ANSWERS: usize = 20;
    for sleepers in [WORKERS, 5] {
        bounded(move || {
            let runtime = runtime(WORKERS);
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let server = runtime.spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut byte = [0];
                while stream.read(&mut byte).await.unwrap() == 1 {
                    stream.write_all(&byte).await.unwrap();
                }
            });
            let (naps, over) = (Arc::new(Naps::default()), Flag::default());
            let sleepers: Vec<_> = (0..sleepers)
                .map(|_| {
                    let (naps, over) = (Arc::clone(&naps), over.clone());
                    runtime.spawn(async move {
                        while !over.0.2.load(SeqCst) {
                            naps.take();
                            yield_now().await;
                        }
                    })
                })
                .collect();
            let mut client = StdTcpStream::connect(address).unwrap();
            client.set_nodelay(true).unwrap();
            client.set_read_timeout(Some(5000 * MS)).unwrap();
            let begun = Instant::now();
            let mut answers = 0;
            while answers < ANSWERS {
                let over = format!("{answers} answers of {ANSWERS} in time");
                assert!(begun.elapsed() < PATIENCE, "{over}");
                let ended = naps.ended();
                let begun = naps.0.load(SeqCst);
                // So many were under way when that was read.
                let under_way = (naps.ended() == ended).then(|| begun - ended);
                client.write_all(b"x").unwrap();
                client.read_exact(&mut [0]).expect(&over);
                // Each worker was in the same nap from before the request until after the answer.
                if under_way >= Some(WORKERS) && naps.ended() == ended {
                    answers += 1;
                }
            }
            over.raise();
            for sleeper in sleepers {
                runtime.block_on(sleeper).unwrap();
            }
            drop(client);
            runtime.block_on(server).unwrap();
        });
    }
}
