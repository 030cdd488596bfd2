//! Nobody waits for ever behind tasks that take long, or that are always ready.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(unix)]

mod support;

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::AsyncReadExt;
use heist::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use heist::task::yield_now;
use heist::time::{interval, sleep};
use support::{bounded, lone_worker};

const MS: Duration = Duration::from_millis(1);

/// Takes the processor for so long.
fn work(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn long_polls_keep_no_spawn_timer_or_socket_waiting() {
    const CROWD: usize = 5;
    bounded(|| {
        let runtime = lone_worker();
        let (polls, over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        for _ in 0..CROWD {
            let (polls, over) = (Arc::clone(&polls), Arc::clone(&over));
            runtime
                .spawn(async move {
                    while !over.load(Ordering::SeqCst) {
                        polls.fetch_add(1, Ordering::SeqCst);
                        work(2 * MS);
                        yield_now().await;
                    }
                })
                .detach();
        }
        let now = || polls.load(Ordering::SeqCst);
        while now() < 10 * CROWD {
            thread::yield_now();
        }
        for _ in 0..10 {
            let counter = Arc::clone(&polls);
            let spawned = runtime.spawn(async move { counter.load(Ordering::SeqCst) });
            // Counted from when it was there, however long this thread had to wait for a processor.
            let before = now();
            let spawn = spawned.wait_blocking().unwrap().saturating_sub(before);

            let counter = Arc::clone(&polls);
            let slept = runtime.spawn(async move {
                let before = counter.load(Ordering::SeqCst);
                sleep(MS).await;
                counter.load(Ordering::SeqCst) - before
            });
            let timer = slept.wait_blocking().unwrap();

            let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let (begun, begins) = channel();
            let counter = Arc::clone(&polls);
            let entered = runtime.enter();
            let mut ours = UnixStream::try_from(ours).unwrap();
            drop(entered);
            let reads = runtime.spawn(async move {
                begun.send(()).unwrap();
                ours.read_exact(&mut [0]).await.unwrap();
                counter.load(Ordering::SeqCst)
            });
            begins.recv().unwrap();
            theirs.write_all(b"x").unwrap();
            let before = now();
            let socket = reads.wait_blocking().unwrap().saturating_sub(before);
            // A tenth of a second.
            for (what, waited) in [("spawn", spawn), ("timer", timer), ("socket", socket)] {
                assert!(waited <= 10 * CROWD, "{what}: {waited} polls went first");
            }
        }
        over.store(true, Ordering::SeqCst);
    });
}

/// Runs `busy` on a lone worker until another task has had so many turns, and says how often `busy` was ready.
fn beside<F>(busy: impl FnOnce(Arc<AtomicUsize>) -> F) -> usize
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = lone_worker();
    let ready = Arc::new(AtomicUsize::new(0));
    let busy = runtime.spawn(busy(Arc::clone(&ready)));
    while ready.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let counter = Arc::clone(&ready);
    let other = runtime.spawn(async move {
        let before = counter.load(Ordering::SeqCst);
        for _ in 0..TURNS {
            yield_now().await;
        }
        counter.load(Ordering::SeqCst) - before
    });
    let meanwhile = runtime.block_on(other).unwrap();
    busy.abort();
    let _ = runtime.block_on(busy);
    meanwhile
}

const TURNS: usize = 20;

/// How often leaf futures may be ready in one poll.
const BUDGET: usize = 128;

#[test]
fn sockets_and_intervals_that_are_always_ready_let_others_have_their_turn() {
    bounded(|| {
        let peeks = beside(|ready| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await;
            let (server, _) = listener.accept().await.unwrap();
            client.unwrap().try_write(b"a").unwrap();
            loop {
                assert_eq!(server.peek(&mut [0; 8]).await.unwrap(), 1);
                ready.fetch_add(1, Ordering::SeqCst);
            }
        });
        let ticks = beside(|ready| async move {
            // Behind from the first tick on, for ever.
            let mut ticks = interval(Duration::from_nanos(1));
            loop {
                ticks.tick().await;
                ready.fetch_add(1, Ordering::SeqCst);
            }
        });
        let datagrams = beside(|ready| async move {
            let own = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            own.connect(own.local_addr().unwrap()).await.unwrap();
            loop {
                own.send(b"a").await.unwrap();
                own.recv(&mut [0; 8]).await.unwrap();
                ready.fetch_add(2, Ordering::SeqCst);
            }
        });
        for (what, meanwhile) in [("TCP", peeks), ("interval", ticks), ("UDP", datagrams)] {
            assert!(meanwhile > 0, "{what} was not busy");
            // Once more for the turn that was under way.
            let most = (TURNS + 1) * BUDGET;
            assert!(meanwhile <= most, "{what}: {meanwhile} times");
        }
    });
}
