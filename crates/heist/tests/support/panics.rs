//! Code that panics, and a runtime that reports it.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::any::Any;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use heist::runtime::{Builder, ExceptionKind};
use heist::{Runtime, TaskError, promise};

/// What the exception handler was told.
pub(crate) type Reports = Receiver<(ExceptionKind, String)>;

/// Panics when it is dropped, unless that would end the process.
pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("bomb");
        }
    }
}

impl Bomb {
    /// Uses it without giving it away.
    pub(crate) fn hold(&self) {}
}

/// One worker, unless the test says otherwise: a panic that takes it down takes everything down.
pub(crate) fn reporting() -> (Builder, Reports) {
    let (sent, told) = channel();
    let sent = Mutex::new(sent);
    // A panic with a backtrace takes milliseconds.
    let builder = Runtime::builder()
        .worker_threads(1)
        .blocked_worker_threshold(None);
    let builder = builder.exception_handler(move |exception| {
        let report = (exception.kind(), exception.message().to_owned());
        let _ = sent.lock().unwrap().send(report);
    });
    (builder, told)
}

pub(crate) fn start() -> (Runtime, Reports) {
    let (builder, told) = reporting();
    (builder.build().unwrap(), told)
}

/// Waits for the next report, and says what it has to be.
#[track_caller]
pub(crate) fn hears(told: &Reports, kind: ExceptionKind, message: &str) {
    let (heard, text) = told.recv().unwrap();
    assert_eq!(heard, kind, "{text}");
    assert!(text.contains(message), "{text}");
}

/// Everything works as if nothing had happened, nothing more was reported, and the end comes in time.
#[track_caller]
pub(crate) fn goes_on(runtime: Runtime, told: &Reports) {
    let tasks: Vec<_> = (0..100)
        .map(|i| {
            runtime.spawn(async move {
                heist::time::sleep(Duration::from_micros(i)).await;
                i
            })
        })
        .collect();
    runtime.block_on(async {
        for (i, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), i as u64);
        }
    });
    let job = runtime.spawn_blocking(|| 3);
    assert_eq!(runtime.block_on(job).unwrap(), 3);
    let (called, heard) = promise();
    runtime
        .handle()
        .call_soon(move || called.set_result(()).unwrap_or(()));
    runtime.block_on(heard).unwrap();
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.is_clean(), "{report:?}");
    assert!(report.elapsed < Duration::from_secs(4), "{report:?}");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), []);
}

/// The panic that ended a task, as text.
pub(crate) fn panicked<T>(result: Result<T, TaskError>) -> String {
    let error = result.err().expect("it panicked");
    let payload = error.try_into_panic().unwrap();
    text(payload)
}

pub(crate) fn text(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<&'static str>() {
        Ok(text) => (*text).to_owned(),
        Err(payload) => *payload.downcast::<String>().unwrap(),
    }
}
