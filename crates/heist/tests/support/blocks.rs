//! Tasks that block their workers.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use heist::{Runtime, Task};

/// Where blocked threads wait until somebody opens it.
#[derive(Clone)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(crate) fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// Blocks that many workers, each inside of a poll, and returns when all are.
pub(crate) fn block(runtime: &Runtime, tasks: usize, gate: &Gate) -> Vec<Task<()>> {
    let (inside, entered) = channel();
    let blocked: Vec<_> = (0..tasks)
        .map(|_| {
            let (inside, gate) = (inside.clone(), gate.clone());
            runtime.spawn(async move {
                inside.send(()).unwrap();
                gate.wait();
            })
        })
        .collect();
    for _ in 0..tasks {
        heard(&entered, "a thread for each of them");
    }
    blocked
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

#[track_caller]
pub(crate) fn heard<T>(from: &Receiver<T>, what: &str) -> T {
    from.recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("{what}"))
}
