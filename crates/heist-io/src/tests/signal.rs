use crate::signal::{SignalKind, signal};
use crate::tests::harness::{TestRuntime, both, poll_once};
use rustix::process::{Signal, getpid, kill_process};
use std::io;
use std::pin::pin;

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
