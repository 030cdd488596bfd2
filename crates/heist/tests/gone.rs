//! What belongs to a runtime that is gone, and times beyond any clock.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(unix)]

#[path = "support/panics.rs"]
mod panics;
mod support;

use std::fmt;
use std::future::{pending, poll_fn};
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, poll_once};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::io::Async;
use heist::net::{
    TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream, lookup_host,
};
use heist::runtime::RuntimeGone;
use heist::signal::{SignalKind, signal};
use heist::time::{interval, interval_at, sleep, sleep_until, timeout};
use heist::{Task, TaskError};
use panics::{panicked, text};
use support::{bounded, runtime};

const GRACE: Duration = Duration::from_secs(5);

fn is_gone(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<RuntimeGone>())
}

#[track_caller]
fn refuses<T: fmt::Debug>(what: &str, result: io::Result<T>) {
    match result {
        Err(error) if is_gone(&error) => {}
        other => panic!("{what}: {other:?}"),
    }
}

type Wait = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// For the paths of sockets. Gone with all that is in it.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("heist-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// One of everything that can be waited for, on the current runtime, and nothing that makes it ready.
async fn waits(directory: &Directory) -> Vec<(&'static str, Wait)> {
    let local = "127.0.0.1:0";
    let listener = TcpListener::bind(local).await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await;
    let mut client = client.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (mut full, full_peer) = UnixStream::pair().unwrap();
    let udp = UdpSocket::bind(local).await.unwrap();
    let unix_listener = UnixListener::bind(directory.0.join("listener")).unwrap();
    let (mut unix, unix_peer) = UnixStream::pair().unwrap();
    let (datagram, datagram_peer) = UnixDatagram::pair().unwrap();
    let (raw, raw_peer) = StdUnixStream::pair().unwrap();
    let raw = Async::new(raw).unwrap();
    let mut listened = signal(SignalKind::user_defined2()).unwrap();
    vec![
        (
            "TcpListener::accept",
            Box::pin(async move { listener.accept().await.map(drop) }),
        ),
        (
            "TcpStream::read",
            Box::pin(async move {
                let read = client.read(&mut [0; 8]).await.map(drop);
                drop(server);
                read
            }),
        ),
        (
            "UnixStream::write_all",
            Box::pin(async move {
                // More than there is room for on the other side, which does not read.
                let written = full.write_all(&[0; 1 << 22]).await;
                drop(full_peer);
                written
            }),
        ),
        (
            "UdpSocket::recv_from",
            Box::pin(async move { udp.recv_from(&mut [0; 8]).await.map(drop) }),
        ),
        (
            "UnixListener::accept",
            Box::pin(async move { unix_listener.accept().await.map(drop) }),
        ),
        (
            "UnixStream::read",
            Box::pin(async move {
                let read = unix.read(&mut [0; 8]).await.map(drop);
                drop(unix_peer);
                read
            }),
        ),
        (
            "UnixDatagram::recv",
            Box::pin(async move {
                let received = datagram.recv(&mut [0; 8]).await.map(drop);
                drop(datagram_peer);
                received
            }),
        ),
        (
            "Async::readable",
            Box::pin(async move {
                let ready = raw.readable().await;
                drop(raw_peer);
                ready
            }),
        ),
        (
            "Signal::recv",
            Box::pin(async move {
                let signal = listened.recv().await;
                signal.ok_or_else(|| io::Error::other(RuntimeGone))
            }),
        ),
    ]
}

#[test]
fn who_waits_for_a_source_of_a_runtime_that_goes_is_told() {
    bounded(|| {
        let directory = Directory::new("waits");
        for workers in [1, 2] {
            let (going, staying) = (runtime(workers), runtime(2));
            let waits = going.block_on(waits(&directory));
            let (polled, pending) = channel();
            let tasks: Vec<_> = waits
                .into_iter()
                .map(|(what, mut wait)| {
                    let polled = polled.clone();
                    let waits = poll_fn(move |cx| {
                        let poll = wait.as_mut().poll(cx);
                        // The first time only: nobody is told of the others.
                        let _ = polled.send(());
                        poll
                    });
                    (what, staying.spawn(waits))
                })
                .collect();
            tasks.iter().for_each(|_| pending.recv().unwrap());
            let report = going.shutdown(GRACE);
            assert!(report.is_clean(), "{report:?}");
            for (what, task) in tasks {
                refuses(what, task.wait_blocking().unwrap());
            }
            std::fs::remove_file(directory.0.join("listener")).unwrap();
        }
    });
}

#[test]
fn a_source_that_outlives_its_runtime_refuses_at_once() {
    bounded(|| {
        let directory = Directory::new("outlives");
        let (gone, stays) = (runtime(1), runtime(1));
        let waits = gone.block_on(waits(&directory));
        drop(gone);
        for (what, wait) in waits {
            refuses(what, stays.block_on(wait));
        }
    });
}

#[test]
fn nothing_is_opened_on_a_runtime_that_is_gone() {
    bounded(|| {
        let directory = Directory::new("opened");
        let path = |name| directory.0.join(name);
        let ended = runtime(1);
        let handle = ended.handle().clone();
        drop(ended);
        let _entered = handle.enter();
        let local = "127.0.0.1:0";
        refuses("bind", block_on(TcpListener::bind(local)));
        refuses("connect", block_on(TcpStream::connect("127.0.0.1:1")));
        refuses("UDP", block_on(UdpSocket::bind(local)));
        refuses("Unix bind", UnixListener::bind(path("listener")));
        refuses("Unix connect", block_on(UnixStream::connect(path("none"))));
        refuses("Unix pair", UnixStream::pair());
        refuses("datagram bind", UnixDatagram::bind(path("datagram")));
        refuses("datagram pair", UnixDatagram::pair());
        refuses("datagram", UnixDatagram::unbound());
        refuses("Async", Async::new(StdUnixStream::pair().unwrap().0));
        refuses("signal", signal(SignalKind::user_defined2()));
        refuses("lookup", block_on(lookup_host("localhost:1")));
    });
}

#[test]
fn a_sleep_that_outlives_its_runtime_panics_with_the_reason() {
    bounded(|| {
        let (going, stays) = (runtime(1), runtime(1));
        let mut polled = Box::pin(sleep(Duration::from_secs(60)));
        let late = going.block_on(async {
            assert!(poll_once(&mut polled).await.is_none());
            Some(timeout(Duration::from_secs(60), pending::<()>()))
        });
        let (asleep, sleeps) = channel();
        let waits = stays.spawn(async move {
            asleep.send(()).unwrap();
            polled.await;
        });
        sleeps.recv().unwrap();
        drop(going);
        assert_eq!(panicked(waits.wait_blocking()), RuntimeGone.to_string());
        // What was never polled belongs to nobody yet.
        stays.block_on(async {
            let mut late = pin!(late.unwrap());
            assert!(poll_once(late.as_mut()).await.is_none());
        });
    });
}

#[test]
fn a_time_that_no_clock_reaches_never_comes_and_one_that_is_past_is_now() {
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle();
        let never = handle.call_later(Duration::MAX, || unreachable!("it came"));
        let (past, called) = channel();
        let soon = Instant::now();
        handle.call_at(soon, move || past.send(()).unwrap());
        called.recv().unwrap();
        runtime.block_on(async {
            sleep_until(soon).await;
            let mut far = pin!(sleep(Duration::MAX));
            assert!(poll_once(far.as_mut()).await.is_none());
            let within = timeout(Duration::MAX, async { 5 });
            assert_eq!(within.await.unwrap(), 5);
        });
        assert!(never.cancel());
        let report = runtime.shutdown(Duration::MAX);
        assert!(report.is_clean(), "{report:?}");
    });
}

#[test]
fn a_spawn_on_a_runtime_that_is_gone_says_so_however_it_is_asked() {
    bounded(|| {
        let ended = runtime(1);
        let local = heist::LocalRuntime::new().unwrap();
        let handles = [ended.handle().clone(), local.handle().clone()];
        drop((ended, local));
        for handle in handles {
            let builder = || heist::task::Builder::new().on(&handle).name("late");
            let outcomes: [Result<(), TaskError>; 4] = [
                handle.spawn(async {}).wait_blocking(),
                handle.spawn_blocking(|| ()).wait_blocking(),
                builder().spawn(async {}).wait_blocking(),
                builder().spawn_blocking(|| ()).wait_blocking(),
            ];
            for outcome in outcomes {
                let error = outcome.unwrap_err();
                assert!(error.is_runtime_gone() && error.is_cancelled(), "{error}");
            }
            // Here, since nobody else is there; no other runtime is started for it.
            let (late, here) = (handle.spawn(async {}), std::thread::current().id());
            let (called, on) = channel();
            late.add_done_callback(move |_| called.send(std::thread::current().id()).unwrap());
            assert_eq!(on.try_recv().unwrap(), here);
            let calls = [
                handle.call_soon(|| unreachable!("called")),
                handle.call_later(Duration::ZERO, || unreachable!("called")),
                handle.call_at(Instant::now(), || unreachable!("called")),
            ];
            assert!(calls.iter().all(|call| call.is_cancelled()));
        }
    });
}

/// Tells on which thread it is dropped.
struct DropsOn(Sender<ThreadId>);

impl Drop for DropsOn {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

#[test]
fn what_is_given_to_a_runtime_that_is_gone_is_dropped_by_the_giver_and_never_run() {
    bounded(|| {
        let ended = runtime(1);
        let local = heist::LocalRuntime::new().unwrap();
        let handles = [ended.handle().clone(), local.handle().clone()];
        drop((ended, local));
        let here = thread::current().id();
        for handle in handles {
            let (dropped, drops) = channel();
            let guard = || DropsOn(dropped.clone());
            let body = || {
                let held = guard();
                async move {
                    drop(held);
                    unreachable!("polled");
                }
            };
            let closure = || {
                let held = guard();
                move || {
                    drop(held);
                    unreachable!("called");
                }
            };
            let builder = || heist::task::Builder::new().on(&handle);
            let later = Duration::from_secs(60);
            let give: [(&str, &dyn Fn()); 7] = [
                ("spawn", &|| handle.spawn(body()).detach()),
                ("spawn_blocking", &|| {
                    handle.spawn_blocking(closure()).detach()
                }),
                ("Builder::spawn", &|| builder().spawn(body()).detach()),
                ("Builder::spawn_blocking", &|| {
                    builder().spawn_blocking(closure()).detach();
                }),
                ("call_soon", &|| drop(handle.call_soon(closure()))),
                ("call_later", &|| drop(handle.call_later(later, closure()))),
                ("call_at", &|| {
                    drop(handle.call_at(Instant::now(), closure()));
                }),
            ];
            for (what, give) in give {
                give();
                // By the time that it returns, and once.
                assert_eq!(drops.try_recv(), Ok(here), "{what}");
                assert!(drops.try_recv().is_err(), "{what}");
            }
            let task = handle.spawn(body());
            assert!(
                task.is_finished(),
                "a handle that is kept keeps nothing else"
            );
            assert_eq!(drops.try_recv(), Ok(here));
        }
    });
}

#[test]
fn a_timer_of_a_runtime_that_is_gone_panics_with_the_reason_wherever_it_is_polled() {
    const REASON: &str = "the runtime is gone; do this before it is shut down, or on another one";
    bounded(|| {
        const HOUR: Duration = Duration::from_secs(3600);
        let (going, stays) = (runtime(1), runtime(1));
        let gone = going.handle().clone();
        let (mut ticks, mut limited, mut asleep) = going.block_on(async {
            let mut ticks = interval(HOUR);
            ticks.tick().await;
            assert!(poll_once(ticks.tick()).await.is_none());
            let mut limited = Box::pin(timeout(HOUR, pending::<()>()));
            assert!(poll_once(&mut limited).await.is_none());
            let mut asleep = Box::pin(sleep(HOUR));
            assert!(poll_once(&mut asleep).await.is_none());
            (ticks, limited, asleep)
        });
        drop(going);
        // Armed there, polled in a task of another runtime.
        let other: [Task<()>; 3] = [
            stays.spawn(async move { _ = ticks.tick().await }),
            stays.spawn(async move { limited.as_mut().await.unwrap() }),
            stays.spawn(async move { asleep.as_mut().await }),
        ];
        for task in other {
            assert_eq!(panicked(task.wait_blocking()), REASON);
        }
        // New ones, where it is entered.
        let _entered = gone.enter();
        let new: [Box<dyn FnOnce()>; 4] = [
            Box::new(|| block_on(sleep(HOUR))),
            Box::new(|| block_on(sleep_until(Instant::now() + HOUR))),
            Box::new(|| _ = block_on(timeout(HOUR, pending::<()>()))),
            Box::new(|| {
                let mut ticks = interval_at(Instant::now() + HOUR, HOUR);
                block_on(ticks.tick());
            }),
        ];
        for wait in new {
            let payload = catch_unwind(AssertUnwindSafe(wait)).unwrap_err();
            assert_eq!(text(payload), REASON);
        }
        // One that is ready before its clock is asked needs none.
        assert_eq!(block_on(timeout(HOUR, async { 3 })).unwrap(), 3);
    });
}

#[test]
fn a_block_on_of_a_runtime_that_is_gone_unwinds_with_the_reason() {
    bounded(|| {
        let ended = runtime(1);
        let local = heist::LocalRuntime::new().unwrap();
        let handles = [ended.handle().clone(), local.handle().clone()];
        drop((ended, local));
        for handle in handles {
            let (dropped, drops) = channel();
            let held = DropsOn(dropped);
            let root = async move {
                drop(held);
                unreachable!("polled");
            };
            let waits = || handle.block_on(root);
            let payload = catch_unwind(AssertUnwindSafe(waits)).unwrap_err();
            let error = payload.downcast::<TaskError>().unwrap();
            assert!(error.is_runtime_gone() && error.is_cancelled(), "{error}");
            assert!(!error.is_panic());
            assert_eq!(drops.try_recv(), Ok(thread::current().id()));
        }
    });
}
