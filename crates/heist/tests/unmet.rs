//! Rules that do not hold yet. Each of these tests is ignored, and says why.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "support/panics.rs"]
mod panics;
mod support;
#[path = "support/waker.rs"]
mod waker;

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Context;
use std::thread;
use std::time::Duration;

use heist::io::Async;
use heist::runtime::ExceptionKind;
use heist::time::sleep;
use panics::{Bomb, goes_on, start};
use support::{bounded, runtime};
use waker::{Event, poll_with, waker};

/// Says that it is being dropped, and waits until it may be.
struct SlowDrop(Sender<()>, Receiver<()>);

impl Drop for SlowDrop {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
        let _ = self.1.recv();
    }
}

#[test]
#[ignore = "shutdown takes a blocking closure for stuck whose output is being dropped"]
fn a_shutdown_waits_for_the_drop_of_a_blocking_closures_output() {
    bounded(|| {
        let runtime = runtime(1);
        let (begun, begins) = channel();
        let (release, released) = channel();
        let output = SlowDrop(begun, released);
        let (go_on, goes_on) = channel();
        let job = runtime.spawn_blocking(move || {
            goes_on.recv().unwrap();
            output
        });
        // Nobody but the pool's thread is left to drop the output.
        job.detach();
        go_on.send(()).unwrap();
        begins.recv().unwrap();
        let (ended, report) = channel();
        let ends = thread::spawn(move || {
            let report = runtime.shutdown(Duration::from_secs(9));
            ended.send(report).unwrap();
        });
        // It is to take as long as nobody releases the drop.
        let early = report.recv_timeout(Duration::from_millis(100));
        release.send(()).unwrap();
        ends.join().unwrap();
        assert!(early.is_err(), "{early:?}");
        let report = report.recv().unwrap();
        assert!(report.is_clean(), "{report:?}");
    });
}

#[test]
#[ignore = "the driver swallows the panic of a waker"]
fn the_panic_of_a_waker_of_a_timer_or_of_a_source_is_reported() {
    bounded(|| {
        let (runtime, told) = start();
        let waker = waker(|event| assert!(event != Event::Wake, "waker"));
        let task = runtime.spawn(async move {
            let mut first = Box::pin(sleep(Duration::from_millis(1)));
            assert!(poll_with(&mut first, &waker).is_pending());
            sleep(Duration::from_millis(2)).await;
            let (ours, theirs) = UnixStream::pair().unwrap();
            let source = Async::new(ours).unwrap();
            let cx = &mut Context::from_waker(&waker);
            while source.poll_readable(cx).is_ready() {
                let read = |io: &UnixStream| std::io::Read::read(&mut &*io, &mut [0]);
                assert!(source.try_io(heist::io::Interest::Readable, read).is_err());
            }
            drop(theirs);
            std::mem::forget(source);
        });
        runtime.block_on(task).unwrap();
        for _ in 0..2 {
            let told = told.recv_timeout(Duration::from_secs(1)).unwrap();
            assert_eq!(told, (ExceptionKind::Waker, "waker".to_owned()));
        }
        goes_on(runtime, &told);
    });
}

#[test]
#[ignore = "the scheduler swallows the panic of a callback's drop"]
fn the_panic_in_the_drop_of_a_call_that_a_shutdown_throws_away_is_reported() {
    bounded(|| {
        let (runtime, told) = start();
        let held = Bomb;
        let hour = Duration::from_secs(3600);
        let call = runtime.handle().call_later(hour, move || held.hold());
        drop(runtime);
        assert!(call.is_cancelled());
        let told = told.recv_timeout(Duration::from_secs(1)).unwrap();
        assert_eq!(told, (ExceptionKind::Drop, "bomb".to_owned()));
    });
}
