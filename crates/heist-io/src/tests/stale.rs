//! What the kernel says too late, about sources that are gone, and what it says while an operation is under way.

use crate::fd::{Async, Interest};
use crate::tests::harness::{TestRuntime, poll_once};
use heist_core::driver::{Driver, Wait};
use rustix::event::{EventfdFlags, eventfd};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;

/// Is one descriptor when it is registered, and another one when that is to be taken back: the reactor's own
/// `EPOLL_CTL_DEL` misses, as it does where a descriptor was closed behind its back.
///
/// Whoever has a duplicate of the registered one keeps the open file alive, and the kernel goes on reporting it.
#[derive(Debug)]
struct Lent {
    registered: UnixStream,
    now: Cell<RawFd>,
}

impl Lent {
    fn new(registered: UnixStream) -> Self {
        let now = Cell::new(registered.as_raw_fd());
        Self { registered, now }
    }
}

impl AsFd for Lent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.now.get() == self.registered.as_raw_fd() {
            return self.registered.as_fd();
        }
        borrowed(self.now.get())
    }
}

#[allow(unsafe_code, reason = "the test does what no safe program can")]
fn borrowed(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: it is given to one system call, which finds that it is not registered, or not open.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// No process has that many.
const NEVER_OPEN: RawFd = RawFd::MAX;

/// A source whose registration outlives it: what keeps it alive, and its peer. Deregistering fails with the error that
/// `number` gives.
fn left_behind(number: RawFd) -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let duplicate = ours.try_clone().unwrap();
    let source = Async::new(Lent::new(ours)).unwrap();
    assert!(poll_once(pin!(source.readable())).is_pending());
    source.get_ref().now.set(number);
    drop(source);
    (duplicate, theirs)
}

/// The kernel still reports the old key, and the place that it names is in use again.
#[test]
fn an_event_of_a_source_that_is_gone_does_not_reach_the_next_one() {
    let runtime = TestRuntime::new();
    let never_registered = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    // EBADF and ENOENT.
    for number in [NEVER_OPEN, never_registered.as_raw_fd()] {
        runtime.block_on(async {
            for _ in 0..100 {
                let (_alive, mut theirs) = left_behind(number);
                let (fresh, _peer) = UnixStream::pair().unwrap();
                let fresh = Async::new(fresh).unwrap();
                let mut waiting = Box::pin(fresh.readable());
                assert!(poll_once(waiting.as_mut()).is_pending());
                theirs.write_all(b"x").unwrap();
                assert_eq!(runtime.io.turn(0, Wait::Never), 0, "somebody was woken");
                let result = fresh.try_io(Interest::Readable, |_| Ok(()));
                assert_eq!(
                    result.unwrap_err().kind(),
                    io::ErrorKind::WouldBlock,
                    "the new one was told of the old one's data"
                );
            }
        });
    }
}

/// A source that was closed behind our back is dropped after its number has found a new owner.
#[test]
fn a_source_that_was_closed_leaves_the_next_one_with_its_number_alone() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        for _ in 0..100 {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let mut ours = OwnedFd::from(ours);
            let old = Async::new(Number(ours.as_raw_fd())).unwrap();
            assert!(poll_once(pin!(old.readable())).is_pending());
            // Closes the old one, and gives its number to the new one.
            let (fresh, mut peer) = UnixStream::pair().unwrap();
            rustix::io::dup2(&fresh, &mut ours).unwrap();
            drop(fresh);
            let fresh = Async::new(UnixStream::from(ours)).unwrap();
            let mut buf = [0; 4];
            let mut reading = Box::pin(fresh.read_with(|mut io| io.read(&mut buf)));
            assert!(poll_once(reading.as_mut()).is_pending());
            drop(old);
            peer.write_all(b"new").unwrap();
            assert_eq!(reading.await.unwrap(), 3);
        }
    });
}

/// A descriptor that somebody else closes.
#[derive(Debug)]
struct Number(RawFd);

impl AsFd for Number {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrowed(self.0)
    }
}

/// Before the next turn, an event of the old one and one of the new one.
#[test]
fn a_late_event_does_not_hide_one_of_the_next_source() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        for _ in 0..100 {
            let (_alive, mut old_peer) = left_behind(NEVER_OPEN);
            let (fresh, mut peer) = UnixStream::pair().unwrap();
            let fresh = Async::new(fresh).unwrap();
            let mut buf = [0; 4];
            let mut reading = Box::pin(fresh.read_with(|mut io| io.read(&mut buf)));
            assert!(poll_once(reading.as_mut()).is_pending());
            old_peer.write_all(b"old").unwrap();
            peer.write_all(b"ne").unwrap();
            assert_eq!(reading.await.unwrap(), 2);
        }
    });
}

/// What the kernel reports of nobody is no reason for the thread in the poller to return again and again.
#[test]
fn a_registration_that_outlives_its_source_is_reported_once_per_event() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (_alive, mut theirs) = left_behind(NEVER_OPEN);
        theirs.write_all(b"x").unwrap();
        drop(theirs);
        runtime.io.turn(0, Wait::Never);
        let limit = std::time::Instant::now() + std::time::Duration::from_millis(20);
        runtime.io.turn(0, Wait::Until(limit));
        assert!(std::time::Instant::now() >= limit, "the turn did not sleep");
    });
}

/// The read finds nothing; before it can say so, there is something.
#[test]
fn a_read_that_is_older_than_the_newest_event_does_not_take_it_back() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Async::new(ours).unwrap();
        let mut buf = [0; 4];
        theirs.write_all(b"x").unwrap();
        assert_eq!(ours.read_with(|mut io| io.read(&mut buf)).await.unwrap(), 1);
        // What reads in between, by hand and as a future.
        for round in 0..100 {
            let mut late = |mut io: &UnixStream| {
                let result = io.read(&mut buf);
                if result.is_err() {
                    theirs.write_all(b"xy").unwrap();
                    runtime.io.turn(0, Wait::Never);
                }
                result
            };
            if round % 2 == 0 {
                let result = ours.try_io(Interest::Readable, &mut late);
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
                assert_eq!(ours.try_io(Interest::Readable, &mut late).unwrap(), 2);
            } else {
                let reading = pin!(ours.read_with(&mut late));
                assert!(matches!(poll_once(reading), Poll::Ready(Ok(2))));
            }
        }
    });
}

/// A count of events that comes round would take the read for one that has seen them all.
#[test]
fn a_read_that_65536_events_overtake_does_not_take_them_back() {
    const EVENTS: u64 = 1 << 16;
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        // Each write is an event of its own, and none of them fills anything.
        let counter = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let counter = Async::new(counter).unwrap();
        add_one(counter.get_ref());
        assert_eq!(counter.read_with(take).await.unwrap(), 1);
        let mut tries = 0;
        let reading = counter.read_with(|counter| {
            tries += 1;
            let result = take(counter);
            if result.is_err() {
                for _ in 0..EVENTS {
                    add_one(counter);
                    runtime.io.turn(0, Wait::Never);
                }
            }
            result
        });
        let Poll::Ready(result) = poll_once(pin!(reading)) else {
            panic!("the read waits for what is there");
        };
        assert_eq!((result.unwrap(), tries), (EVENTS, 2));
    });
}

fn add_one(counter: &OwnedFd) {
    rustix::io::write(counter, &1_u64.to_ne_bytes()).unwrap();
}

fn take(counter: &OwnedFd) -> io::Result<u64> {
    let mut value = [0; 8];
    rustix::io::read(counter, &mut value)?;
    Ok(u64::from_ne_bytes(value))
}

/// A write that would block although the other side is gone is tried once, and then waits for an event.
#[test]
fn a_permanent_hang_up_does_not_make_a_write_spin() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (socket, peer) = UnixStream::pair().unwrap();
        let (reader, pipe) = rustix::pipe::pipe().unwrap();
        let kinds = [
            (Async::new(OwnedFd::from(socket)), OwnedFd::from(peer)),
            (Async::new(pipe), reader),
        ];
        for (ours, other) in kinds {
            let ours = ours.unwrap();
            ours.writable().await.unwrap();
            drop(other);
            runtime.io.turn(0, Wait::Never);
            let mut tries = 0;
            let mut writing = Box::pin(ours.write_with(|_| -> io::Result<()> {
                tries += 1;
                assert!(tries < 10, "the write spins");
                Err(io::ErrorKind::WouldBlock.into())
            }));
            assert!(poll_once(writing.as_mut()).is_pending());
            for _ in 0..10 {
                assert_eq!(runtime.io.turn(0, Wait::Never), 0, "woken without an event");
            }
            drop(writing);
            assert_eq!(tries, 1);
        }
    });
}
