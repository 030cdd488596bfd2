//! Without a driver, so that Miri can run them.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn timers(rings: &Arc<Count>) -> Arc<Timers> {
    let rings = Arc::clone(rings);
    let ring = move || {
        rings.0.fetch_add(1, Ordering::Relaxed);
    };
    Arc::new(Timers::new(3, Instant::now(), Box::new(ring)))
}

fn timer() -> Pin<Box<Timer>> {
    Box::pin(Timer::new(Due::Never))
}

fn poll(timer: &mut Pin<Box<Timer>>, timers: &Timers, shard: usize, at: u64) -> Poll<()> {
    let mut cx = Context::from_waker(Waker::noop());
    timer.as_mut().poll_in(&mut cx, timers.shard(shard), at)
}

#[test]
fn each_shard_fires_its_own() {
    let timers = timers(&Arc::default());
    let mut armed: Vec<_> = (0..30).map(|_| timer()).collect();
    for (index, timer) in armed.iter_mut().enumerate() {
        assert!(poll(timer, &timers, index % 3, 100 + index as u64).is_pending());
    }
    assert_eq!(timers.next_deadline(), 100);
    assert_eq!(timers.fire(1, 109), 3);
    assert_eq!(timers.fire_all(109), 7);
    assert_eq!(timers.next_deadline(), 110);
    for (index, timer) in armed.iter_mut().enumerate() {
        assert_eq!(timer.is_elapsed(), index < 10);
    }
    armed.truncate(20);
    assert_eq!(timers.fire_all(1000), 10);
    drop(armed);
    assert_eq!(timers.next_deadline(), NEVER);
}

#[test]
fn only_an_earlier_timer_rings_and_only_for_a_sleeper() {
    let rings = Arc::default();
    let timers = timers(&rings);
    let rung = || rings.0.swap(0, Ordering::Relaxed);
    let (mut first, mut second, mut third) = (timer(), timer(), timer());
    assert!(poll(&mut first, &timers, 0, 500).is_pending());
    assert_eq!(rung(), 0, "nobody sleeps");
    assert_eq!(timers.before_sleep(1000), 500);
    assert!(poll(&mut second, &timers, 1, 600).is_pending());
    assert_eq!(rung(), 0, "later than the sleeper wakes up");
    assert!(poll(&mut third, &timers, 2, 400).is_pending());
    assert_eq!(rung(), 1);
    timers.after_sleep();
    assert_eq!(timers.before_sleep(300), 300);
}

#[test]
fn reset_in_every_state() {
    let timers = timers(&Arc::default());
    let epoch = timers.alarm.epoch;
    let at = |nanos| Due::At(epoch + Duration::from_nanos(nanos));
    let mut timer = timer();
    timer.as_mut().reset(at(1));
    assert!(poll(&mut timer, &timers, 0, 50).is_pending());
    timer.as_mut().reset(at(70));
    assert_eq!(timers.next_deadline(), 70);
    timer.as_mut().reset(Due::Never);
    assert_eq!(timers.next_deadline(), NEVER);
    timer.as_mut().reset(at(60));
    assert_eq!(timers.fire_all(59), 0);
    assert_eq!(timers.fire_all(60), 1);
    assert!(poll(&mut timer, &timers, 0, 0).is_ready());
    timer.as_mut().reset(at(90));
    assert!(poll(&mut timer, &timers, 0, 90).is_pending());
    assert_eq!(timers.fire_all(90), 1);
}

#[test]
fn shutting_down_wakes_and_later_polls_panic() {
    let timers = timers(&Arc::default());
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut waiting: Vec<_> = [5, NEVER].map(|at| (timer(), at)).into();
    for (timer, at) in &mut waiting {
        let mut cx = Context::from_waker(&waker);
        assert!(
            timer
                .as_mut()
                .poll_in(&mut cx, timers.shard(0), *at)
                .is_pending()
        );
    }
    timers.shut_down();
    assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    for (timer, _) in &mut waiting {
        timer.as_mut().reset(Due::Never);
        let poll = std::panic::AssertUnwindSafe(|| poll(timer, &timers, 0, 9));
        assert!(std::panic::catch_unwind(poll).is_err());
    }
}

/// A timer goes, on one thread, while another one fires it.
#[test]
fn cancel_reset_and_fire_race() {
    let timers = timers(&Arc::default());
    let rounds = if cfg!(miri) { 30 } else { 20_000 };
    let fired = std::thread::scope(|scope| {
        let firing = scope.spawn(|| (0..rounds).map(|now| timers.fire_all(now)).sum::<usize>());
        let mut seen = 0;
        for round in 0..rounds {
            let mut timer = timer();
            let _ = poll(&mut timer, &timers, (round % 3) as usize, round);
            if round % 4 == 0 {
                timer.as_mut().reset(Due::At(
                    timers.alarm.epoch + Duration::from_nanos(round + 2),
                ));
            }
            seen += usize::from(poll(&mut timer, &timers, 0, round).is_ready());
        }
        let fired = firing.join().unwrap();
        assert!(seen <= fired + rounds as usize);
        fired
    });
    assert!(fired <= rounds as usize * 2);
    assert_eq!(timers.next_deadline(), NEVER);
}
