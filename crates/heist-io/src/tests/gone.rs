//! After the runtime was shut down, and without one.

use super::source::{connection, read, write};
use crate::fd::Async;
use crate::net::{TcpListener, TcpStream};
use crate::tests::harness::{TestRuntime, poll_once};
use crate::time::{sleep, timeout};
use heist_core::context::enter;
use heist_core::error::RuntimeGone;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

fn is_gone(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<RuntimeGone>())
}

#[test]
fn what_waits_is_woken_and_fails() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (client, _server) = connection().await;
        let mut buf = [0; 4];
        let mut reading = Box::pin(read(&client, &mut buf));
        assert!(poll_once(reading.as_mut()).is_pending());
        let mut writable = Box::pin(client.readable());
        assert!(poll_once(writable.as_mut()).is_pending());
        runtime.shut_down();
        assert!(is_gone(&reading.await.unwrap_err()));
        assert!(is_gone(&writable.await.unwrap_err()));
        assert!(is_gone(&write(&client, b"x").await.unwrap_err()));
        assert!(is_gone(&client.try_read(&mut [0; 4]).unwrap_err()));
        assert!(is_gone(
            &TcpListener::bind("127.0.0.1:0").await.unwrap_err()
        ));
        assert!(is_gone(
            &TcpStream::connect("localhost:1").await.unwrap_err()
        ));
        // Taking the socket out still works.
        client.into_std().unwrap();
    });
}

#[test]
fn a_sleep_panics_with_the_message() {
    let runtime = TestRuntime::new();
    let _entered = enter(runtime.clone());
    let mut before = pin!(sleep(Duration::from_secs(60)));
    assert!(poll_once(before.as_mut()).is_pending());
    let mut fired = pin!(sleep(Duration::from_nanos(1)));
    runtime.block_on(fired.as_mut());
    runtime.shut_down();
    assert_eq!(poll_once(fired), Poll::Ready(()), "what is over stays over");
    let message = |poll: &mut dyn FnMut() -> Poll<()>| {
        let payload = catch_unwind(AssertUnwindSafe(poll)).unwrap_err();
        payload.downcast_ref::<String>().cloned().unwrap()
    };
    assert_eq!(
        message(&mut || poll_once(before.as_mut())),
        RuntimeGone.to_string()
    );
    assert_eq!(
        message(&mut || poll_once(pin!(sleep(Duration::from_secs(1))))),
        RuntimeGone.to_string()
    );
    // A future that is ready needs no clock.
    assert!(
        poll_once(pin!(timeout(
            Duration::from_secs(1),
            std::future::ready(())
        )))
        .is_ready()
    );
}

#[test]
fn sources_and_timers_outlive_the_driver() {
    let (source, mut timer) = {
        let runtime = TestRuntime::new();
        let _entered = enter(runtime.clone());
        let source = Async::new(std::os::unix::net::UnixStream::pair().unwrap().0).unwrap();
        let mut timer = Box::pin(sleep(Duration::from_secs(60)));
        assert!(poll_once(timer.as_mut()).is_pending());
        runtime.shut_down();
        (source, timer)
    };
    assert!(is_gone(
        &source
            .try_io(crate::fd::Interest::Readable, |_| Ok(()))
            .unwrap_err()
    ));
    timer.as_mut().reset(std::time::Instant::now());
    drop(timer);
    drop(source);
}
