use crate::signal::{SignalKind, ctrl_c, signal};
use crate::tests::harness::{TestRuntime, both, poll_once};
use futures_core::Stream;
use rustix::process::{Signal, getpid, kill_process};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};

fn raise(signal: Signal) {
    kill_process(getpid(), signal).unwrap();
}

#[test]
fn each_listener_gets_one_notification() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let mut one = signal(SignalKind::user_defined1()).unwrap();
        let mut other = signal(SignalKind::user_defined1()).unwrap();
        raise(Signal::USR1);
        both(one.recv(), other.recv()).await;
        assert!(poll_once(pin!(one.recv())).is_pending());
        drop(one);
        raise(Signal::USR1);
        other.recv().await.unwrap();
    });
}

#[test]
fn signals_that_nobody_took_are_one_notification() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let mut changes = signal(SignalKind::window_change()).unwrap();
        for _ in 0..1000 {
            raise(Signal::WINCH);
        }
        changes.recv().await.unwrap();
        assert!(poll_once(pin!(changes.recv())).is_pending());
        raise(Signal::WINCH);
        changes.recv().await.unwrap();
    });
}

#[test]
fn two_runtimes_listen_to_one_signal() {
    let (one, other) = (TestRuntime::new(), TestRuntime::new());
    let mut first = one.block_on(async { signal(SignalKind::user_defined2()).unwrap() });
    let mut second = other.block_on(async { signal(SignalKind::user_defined2()).unwrap() });
    raise(Signal::USR2);
    one.block_on(first.recv()).unwrap();
    other.block_on(second.recv()).unwrap();
}

#[test]
fn signals_that_cannot_be_listened_to() {
    for number in [9, 11, 0, -1, 100_000] {
        assert!(signal(SignalKind::from_raw(number)).is_err());
    }
    let error = signal(SignalKind::from_raw(9)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_listener_is_a_stream() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let mut readies = signal(SignalKind::io()).unwrap();
        raise(Signal::IO);
        let next = poll_fn(|cx| Pin::new(&mut readies).poll_next(cx)).await;
        assert_eq!(next, Some(()));
    });
}

#[test]
fn ctrl_c_listens_from_its_first_poll_on() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let mut pressed = pin!(ctrl_c());
        assert!(poll_once(pressed.as_mut()).is_pending());
        raise(Signal::INT);
        pressed.await.unwrap();
    });
}

#[test]
fn a_signal_before_the_listener_is_not_its_own() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let mut early = signal(SignalKind::alarm()).unwrap();
        raise(Signal::ALARM);
        early.recv().await.unwrap();
        let mut late = signal(SignalKind::alarm()).unwrap();
        assert!(poll_once(pin!(late.recv())).is_pending());
        raise(Signal::ALARM);
        late.recv().await.unwrap();
    });
}

#[test]
fn listening_outside_of_any_runtime_is_an_error() {
    let error = signal(SignalKind::child()).unwrap_err();
    assert!(error.to_string().contains("no heist runtime"), "{error}");
}
