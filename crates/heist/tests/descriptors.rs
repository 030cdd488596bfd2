//! Where no descriptor is left, and where somebody else uses one of the runtime's own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "support/proc.rs"]
mod proc;
mod support;

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use heist::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use heist::signal::{SignalKind, signal};
use heist::{Handle, Runtime};
use proc::{event_counters, open};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{alone, left_alone, runtime};

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Calls `f` while this process can open so many descriptors more.
fn with_left<R>(left: usize, f: impl FnOnce() -> R) -> R {
    let taken = open();
    let mut free = (0..).filter(|number| !taken.contains(number));
    let limit = Rlimit {
        current: Some(free.nth(left).unwrap() as u64),
        ..getrlimit(Resource::Nofile)
    };
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, limit).unwrap();
    let result = f();
    setrlimit(Resource::Nofile, before).unwrap();
    result
}

fn is_shortage(error: &io::Error) -> bool {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let cause = cause.downcast_ref().unwrap_or(error);
    rustix::io::Errno::from_io_error(cause) == Some(rustix::io::Errno::MFILE)
}

/// Tries to open something with no descriptor left, with one, and so on: each time but the last the error says why, and nothing stays
/// behind.
fn opens_or_says_why<T>(what: &str, mut opens: impl FnMut() -> io::Result<T>) {
    let (files, tasks) = (open(), threads());
    for left in 0..20 {
        let result = with_left(left, &mut opens);
        let failed = result.as_ref().err().map(is_shortage);
        let text = result.as_ref().err().map(ToString::to_string);
        drop(result);
        let deadline = Instant::now() + Duration::from_secs(5);
        while open() != files || threads() != tasks {
            assert!(
                Instant::now() < deadline,
                "{what} with {left} left something"
            );
            thread::yield_now();
        }
        match failed {
            None => {
                assert!(left > 0, "{what} needs no descriptor");
                return;
            }
            Some(shortage) => assert!(shortage, "{what} with {left}: {text:?}"),
        }
    }
    panic!("{what} does not open");
}

type Opens = fn(&Handle) -> io::Result<Box<dyn Any>>;

const OPENS: &[(&str, Opens)] = &[
    ("a TCP listener", |own| {
        boxed(own.block_on(TcpListener::bind("127.0.0.1:0")))
    }),
    ("a UDP socket", |own| {
        boxed(own.block_on(UdpSocket::bind("127.0.0.1:0")))
    }),
    ("a pair of Unix streams", |own| {
        boxed(own.block_on(async { UnixStream::pair() }))
    }),
    ("a pair of Unix datagram sockets", |own| {
        boxed(own.block_on(async { UnixDatagram::pair() }))
    }),
    ("a listener of a signal", |own| {
        boxed(own.block_on(async { signal(SignalKind::user_defined1()) }))
    }),
];

fn boxed<T: 'static>(result: io::Result<T>) -> io::Result<Box<dyn Any>> {
    result.map(|value| Box::new(value) as Box<dyn Any>)
}

#[test]
fn whatever_opens_descriptors_says_when_there_are_none_and_leaves_nothing() {
    alone(|| {
        // What the process needs once.
        drop(runtime(1));
        opens_or_says_why("a runtime", || Runtime::builder().worker_threads(2).build());
        opens_or_says_why("a local runtime", || Runtime::builder().build_local());
        let runtime = left_alone(1);
        let own = runtime.handle().clone();
        // The listener of another signal starts what all of them share.
        drop(own.block_on(async { signal(SignalKind::user_defined2()) }));
        for (what, opens) in OPENS {
            opens_or_says_why(what, || opens(&own));
        }
        let listener = own.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        opens_or_says_why("a TCP connection", || {
            own.block_on(TcpStream::connect(address))
        });
        let path = std::env::temp_dir().join(format!("heist-descriptors-{}", std::process::id()));
        opens_or_says_why("a Unix listener", || {
            let listener = own.block_on(async { UnixListener::bind(&path) });
            assert_eq!(path.exists(), listener.is_ok());
            let _ = fs::remove_file(&path);
            listener
        });
        let listener = own.block_on(async { UnixListener::bind(&path) }).unwrap();
        opens_or_says_why("a Unix connection", || {
            own.block_on(UnixStream::connect(&path))
        });
        drop(listener);
        fs::remove_file(&path).unwrap();
        assert_eq!(own.spawn(async { 5 }).wait_blocking().unwrap(), 5);
    });
}

/// A counter that is full takes no more: whoever wakes the poller then has to leave it at that.
#[test]
fn a_wake_is_not_lost_or_stuck_where_the_pollers_counter_is_full() {
    alone(|| {
        let runtime = left_alone(2);
        let counters = event_counters();
        assert!(!counters.is_empty(), "no counter is found");
        for _ in 0..1000 {
            for &(number, _) in &counters {
                // SAFETY: it belongs to the runtime, which outlives the loop.
                let counter = unsafe { BorrowedFd::borrow_raw(number) };
                // To its highest value but one, from wherever it is. It does not block: what does not fit is refused.
                let mut more = u64::MAX - 1;
                while more > 0 {
                    if rustix::io::write(counter, &more.to_ne_bytes()).is_err() {
                        more /= 2;
                    }
                }
            }
            let (told, hears) = channel();
            runtime
                .spawn(async move { told.send(()).unwrap() })
                .detach();
            hears.recv_timeout(Duration::from_secs(5)).unwrap();
        }
        let slept = runtime.spawn(heist::time::sleep(Duration::from_millis(1)));
        runtime.block_on(slept).unwrap();
        assert!(runtime.shutdown(Duration::from_secs(5)).is_clean());
    });
}

/// Puts another file in the place of each of the runtime's own descriptors of this kind.
fn replace(kind: &str) {
    let null = File::open("/dev/null").unwrap();
    let is_one = |number: &RawFd| {
        let link = fs::read_link(format!("/proc/self/fd/{number}"));
        link.is_ok_and(|link| link.to_str() == Some(kind))
    };
    let numbers: Vec<_> = open().into_iter().filter(is_one).collect();
    assert!(!numbers.is_empty(), "there is no {kind}");
    for number in numbers {
        // SAFETY: its owner goes on using the number, which stays open.
        let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
        rustix::io::dup2(&null, &mut place).unwrap();
    }
}

/// How often the workers have slept in a tenth of a second without anything to do.
fn sleeps_meanwhile(own: &Handle) -> u64 {
    let sleeps = || {
        let workers = own.metrics().workers;
        workers.iter().map(|worker| worker.parks).sum::<u64>()
    };
    let before = sleeps();
    thread::sleep(Duration::from_millis(100));
    sleeps() - before
}

#[test]
fn a_runtime_whose_poller_is_gone_says_so_once_and_goes_on_without_sockets() {
    alone(|| {
        for workers in [1, 2] {
            let (report, reports) = channel();
            let builder = Runtime::builder().exception_handler(move |exception| {
                let _ = report.send(exception.to_string());
            });
            let runtime = builder.worker_threads(workers).build().unwrap();
            runtime.spawn(async {}).wait_blocking().unwrap();
            replace("anon_inode:[eventpoll]");
            // Whoever is in the poller still waits in the old one.
            runtime.spawn(async {}).wait_blocking().unwrap();
            let slept = runtime.spawn(heist::time::sleep(Duration::from_millis(1)));
            slept.wait_blocking().unwrap();
            let told = reports.recv_timeout(Duration::from_secs(5)).unwrap();
            assert!(told.contains("poller"), "{told}");
            let slept = sleeps_meanwhile(runtime.handle());
            assert!(slept < 100, "{slept} sleeps: it spins");
            let socket = runtime.block_on(async { UnixStream::pair() });
            assert!(socket.is_err());
            assert!(runtime.shutdown(Duration::from_secs(5)).is_clean());
            assert!(reports.try_recv().is_err(), "told twice");
        }
    });
}

#[test]
fn timers_do_not_need_the_descriptor_that_rings_for_them() {
    alone(|| {
        let runtime = runtime(1);
        runtime.spawn(async {}).wait_blocking().unwrap();
        replace("anon_inode:[timerfd]");
        let asleep = runtime.spawn(heist::time::sleep(Duration::from_millis(200)));
        let slept = sleeps_meanwhile(runtime.handle());
        assert!(slept < 100, "{slept} sleeps: it spins");
        asleep.wait_blocking().unwrap();
        assert!(runtime.shutdown(Duration::from_secs(5)).is_clean());
    });
}
