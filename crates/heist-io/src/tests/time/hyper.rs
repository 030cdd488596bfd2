use crate::hyper::HeistTimer;
use crate::tests::harness::{TestRuntime, poll_once};
use ::hyper::rt::{self, Timer};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_timer_of_hyper_runs_on_the_clock_of_the_runtime() {
    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let timer = HeistTimer::new();
        assert_eq!(timer.now(), runtime.now());
        let mut sleep = timer.sleep(10 * MS);
        let mut until = timer.sleep_until(runtime.now() + 5 * MS);
        assert!(poll_once(Pin::new(&mut sleep)).is_pending());
        assert!(poll_once(Pin::new(&mut until)).is_pending());
        runtime.advance(5 * MS);
        assert!(poll_once(Pin::new(&mut until)).is_ready());
        timer.reset(&mut sleep, runtime.now() + 20 * MS);
        runtime.advance(19 * MS);
        assert!(poll_once(Pin::new(&mut sleep)).is_pending());
        runtime.advance(MS);
        assert!(poll_once(Pin::new(&mut sleep)).is_ready());
    });
}

#[test]
fn a_reset_replaces_the_sleep_of_another_timer() {
    struct Foreign;
    impl Future for Foreign {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }
    impl rt::Sleep for Foreign {}

    let runtime = TestRuntime::with_clock();
    runtime.block_on(async {
        let mut sleep: Pin<Box<dyn rt::Sleep>> = Box::pin(Foreign);
        HeistTimer::new().reset(&mut sleep, runtime.now() + MS);
        assert!(poll_once(Pin::new(&mut sleep)).is_pending());
        runtime.advance(MS);
        assert!(poll_once(Pin::new(&mut sleep)).is_ready());
    });
}
