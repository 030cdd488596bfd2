//! Blocking entry: `block_on` and `wait_blocking`, from everywhere.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::net::{TcpListener, TcpStream};
use heist::task::{current, yield_now};
use heist::time::sleep;
use heist::{LocalRuntime, promise};
use support::{bounded, runtime};

#[test]
fn block_on_works_inside_a_task_even_of_a_single_worker() {
    bounded(|| {
        for workers in [1, 2] {
            let runtime = runtime(workers);
            let task = runtime.spawn(async {
                let own = heist::spawn(async { 4 });
                let other = heist::spawn(async {
                    yield_now().await;
                    5
                });
                heist::block_on(async { own.await.unwrap() + other.wait_blocking().unwrap() })
            });
            assert_eq!(runtime.block_on(task).unwrap(), 9);
        }
    });
}

#[test]
fn block_on_inside_a_task_of_a_single_worker_waits_for_timers_and_sockets() {
    bounded(|| {
        // Nobody helps but the one who comes in its place.
        let runtime = support::lone_worker();
        let task = runtime.spawn(async {
            heist::block_on(async {
                sleep(Duration::from_millis(1)).await;
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let server = heist::spawn(async move {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    // One level further down, on the one who has come.
                    heist::block_on(async {
                        sleep(Duration::from_millis(1)).await;
                        stream.write_all(&[6]).await.unwrap();
                    });
                });
                let mut stream = TcpStream::connect(address).await.unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                server.wait_blocking().unwrap();
                byte[0]
            })
        });
        assert_eq!(runtime.block_on(task).unwrap(), 6);
    });
}

#[test]
fn block_on_works_inside_block_on() {
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let seven = runtime.block_on(async {
            handle.block_on(async { handle.spawn(async { 7 }).await.unwrap() })
        });
        assert_eq!(seven, 7);
    });
}

#[test]
fn block_on_works_on_the_blocking_pool() {
    bounded(|| {
        let runtime = runtime(1);
        let job = runtime
            .spawn_blocking(|| heist::block_on(async { heist::spawn(async { 8 }).await.unwrap() }));
        assert_eq!(runtime.block_on(job).unwrap(), 8);
    });
}

#[test]
fn one_poll_may_block_as_often_as_it_likes() {
    const TIMES: u32 = 300;
    bounded(|| {
        let runtime = runtime(1);
        let handle = runtime.handle().clone();
        let job = runtime.spawn_blocking(move || {
            (0..TIMES)
                .map(|_| handle.block_on(async { 1 }))
                .sum::<u32>()
        });
        assert_eq!(job.wait_blocking().unwrap(), TIMES);
        let handle = runtime.handle().clone();
        let sum = runtime.block_on(async move {
            let task = |_| handle.spawn(async { 1 }).wait_blocking().unwrap();
            (0..TIMES).map(task).sum::<u32>()
        });
        assert_eq!(sum, TIMES);
    });
}

#[test]
fn a_nested_block_on_of_a_local_runtime_panics_and_says_why() {
    bounded(|| {
        let runtime = LocalRuntime::new().unwrap();
        let task = runtime.spawn_local(async { heist::block_on(async {}) });
        let error = runtime.block_on(task).unwrap_err();
        assert!(error.is_panic());
        assert!(error.to_string().contains("block_on"), "{error}");
    });
}

#[test]
fn a_local_runtime_inside_of_itself_panics_however_far_below_that_is() {
    bounded(|| {
        let outer = Rc::new(LocalRuntime::new().unwrap());
        let between = LocalRuntime::new().unwrap();
        let inner = Rc::clone(&outer);
        let refused = outer.block_on(async move {
            between.block_on(async move {
                let refused = catch_unwind(AssertUnwindSafe(|| inner.block_on(async {})));
                *refused.unwrap_err().downcast::<String>().unwrap()
            })
        });
        assert!(
            refused.contains("its only thread would wait for itself"),
            "{refused}"
        );
        assert_eq!(outer.block_on(async { 3 }), 3);
    });
}

#[test]
fn block_on_unwinds_with_the_error_when_its_root_is_cancelled() {
    bounded(|| {
        let runtime = runtime(1);
        let (tell, root) = promise();
        let canceller = runtime.spawn(async move {
            let root: heist::TaskRef = root.await.unwrap();
            root.cancel_with("enough")
        });
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                assert!(tell.set_result(current()).is_ok());
                std::future::pending::<()>().await;
            });
        }));
        let payload = unwound.unwrap_err();
        let error = payload.downcast_ref::<heist::TaskError>().unwrap();
        assert_eq!(error.reason(), Some("enough"));
        assert!(runtime.block_on(canceller).unwrap());
    });
}

#[test]
fn waiting_on_the_thread_of_a_local_runtime_that_nobody_runs_panics() {
    bounded(|| {
        let local = LocalRuntime::new().unwrap();
        let _entered = local.enter();
        let wait = || heist::block_on(sleep(Duration::from_millis(1)));
        let payload = catch_unwind(AssertUnwindSafe(wait)).unwrap_err();
        let message = payload.downcast_ref::<&str>().unwrap();
        assert!(
            message.contains("call block_on of the LocalRuntime"),
            "{message}"
        );
        local.block_on(sleep(Duration::from_millis(1)));
    });
}

#[test]
fn a_root_borrows_from_its_callers_frame() {
    bounded(|| {
        let runtime = runtime(1);
        let text = String::from("not static");
        let length = runtime.block_on(async { text.len() });
        assert_eq!(length, text.len());
    });
}
