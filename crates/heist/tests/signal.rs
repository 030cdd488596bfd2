//! Signals. Alone in its process, since they are the process's.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(unix)]

mod support;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use heist::signal::{SignalKind, signal};
use rustix::process::{Signal, getpid, kill_process};
use support::{bounded, runtime};

#[test]
fn every_listener_gets_a_signal_once() {
    bounded(|| {
        let runtime = runtime(2);
        runtime.block_on(async {
            let mut first = signal(SignalKind::user_defined1()).unwrap();
            let mut second = signal(SignalKind::user_defined1()).unwrap();
            for _ in 0..3 {
                kill_process(getpid(), Signal::USR1).unwrap();
                assert!(first.recv().await.is_some());
                assert!(second.recv().await.is_some());
                let mut cx = Context::from_waker(Waker::noop());
                assert!(pin!(first.recv()).poll(&mut cx).is_pending());
                assert!(pin!(second.recv()).poll(&mut cx).is_pending());
            }
        });
    });
}
