//! Ticks at equal distances.

use super::sleep::Sleep;
use crate::context;
use crate::timer::Due;
use futures_core::Stream;
use heist_core::budget::poll_proceed;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Ticks every `period`. The first tick is at once.
///
/// # Panics
///
/// If `period` is zero.
///
/// # Counterpart
///
/// asyncio has none; there one calls `loop.call_later` from the callback, and drifts.
#[track_caller]
#[must_use = "an interval does nothing unless it is awaited"]
pub fn interval(period: Duration) -> Interval {
    interval_at(context::now(), period)
}

/// Ticks every `period`, first at `start`.
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
#[must_use = "an interval does nothing unless it is awaited"]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(
        !period.is_zero(),
        "the period of an interval must not be zero"
    );
    Interval {
        sleep: Box::pin(Sleep::at(Due::At(start))),
        next: Some(start),
        period,
        missed: MissedTickBehavior::Burst,
        jitter: Duration::ZERO,
    }
}

/// What an [`Interval`] does about ticks that nobody waited for in time.
///
/// A tick is missed when it is taken at or after the time of the one that follows. With a period of 50 ms, and a task
/// that is busy from 60 to 210:
///
/// ```text
/// on time   0    50   100   150   200   250   300   350
/// Burst     0    50   210 210 210  250   300   350      makes up for them at once
/// Delay     0    50   210       260       310           starts anew from the late one
/// Skip      0    50   210          250   300   350      leaves them out, keeps the beat
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// As many ticks as there were, the missed ones without waiting.
    #[default]
    Burst,
    /// The next tick is one period after the late one.
    Delay,
    /// The next tick is the first one of the beat that lies ahead.
    Skip,
}

impl MissedTickBehavior {
    /// When the tick after `tick` is, which was taken at `now`. `None`: never.
    fn next(self, tick: Instant, now: Instant, period: Duration) -> Option<Instant> {
        let next = tick.checked_add(period)?;
        if next > now {
            return Some(next);
        }
        match self {
            Self::Burst => Some(next),
            Self::Delay => now.checked_add(period),
            Self::Skip => {
                let late = now.duration_since(tick).as_nanos() % period.as_nanos();
                // Less than a period, and that is a `Duration`.
                let late =
                    Duration::new((late / 1_000_000_000) as u64, (late % 1_000_000_000) as u32);
                now.checked_add(period.checked_sub(late)?)
            }
        }
    }
}

/// Ticks at equal distances. Made by [`interval`] and [`interval_at`]. Also a [`Stream`] of the ticks.
///
/// Each tick is set from the time of the one before, not from when it was noticed, so nothing adds up.
#[derive(Debug)]
pub struct Interval {
    sleep: Pin<Box<Sleep>>,
    /// The coming tick; `None` lies beyond what an `Instant` can say.
    next: Option<Instant>,
    period: Duration,
    missed: MissedTickBehavior,
    jitter: Duration,
}

impl Interval {
    /// Waits for the next tick. Gives the time for which it was set.
    ///
    /// # Panics
    ///
    /// The future panics when it has to wait and its runtime is gone, or there is none.
    ///
    /// # Cancel safety
    ///
    /// Safe: a tick that was not taken is there for the next call.
    pub fn tick(&mut self) -> Tick<'_> {
        Tick { interval: self }
    }

    /// Ready at the next tick, as [`tick`](Self::tick).
    ///
    /// # Panics
    ///
    /// When it has to wait and its runtime is gone, or there is none.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        let coop = ready!(poll_proceed(cx));
        ready!(self.sleep.as_mut().poll_elapsed(cx));
        coop.made_progress();
        let now = context::now();
        let tick = self.next.unwrap_or(now);
        let next = self.missed.next(tick, now, self.period);
        self.set(next);
        if !self.jitter.is_zero() {
            let later = next.and_then(|next| next.checked_add(context::random(self.jitter)));
            self.sleep.as_mut().reset_to(due(later));
        }
        Poll::Ready(tick)
    }

    /// What happens about missed ticks: at first [`Burst`](MissedTickBehavior::Burst).
    #[must_use]
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Chooses what happens about missed ticks.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// Has each tick from the one after the next come later than its time, by a random time of `most` at most, so that what is many times the same
    /// does not happen everywhere at once. The beat stays: ticks are [`period`](Self::period) apart on average, and none is early.
    ///
    /// # Panics
    ///
    /// If that is a whole period or more.
    ///
    /// # Counterpart
    ///
    /// `jitter` of tornado's `PeriodicCallback`, which moves the beat.
    #[track_caller]
    pub fn set_jitter(&mut self, most: Duration) {
        assert!(
            most < self.period,
            "the jitter of an interval must be shorter than its period"
        );
        self.jitter = most;
    }

    /// The time between two ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// The next tick is one period from now.
    pub fn reset(&mut self) {
        self.set(context::now().checked_add(self.period));
    }

    /// The next tick is now.
    pub fn reset_immediately(&mut self) {
        self.set(Some(context::now()));
    }

    /// The next tick is at `deadline`.
    pub fn reset_at(&mut self, deadline: Instant) {
        self.set(Some(deadline));
    }

    fn set(&mut self, next: Option<Instant>) {
        self.next = next;
        self.sleep.as_mut().reset_to(due(next));
    }
}

fn due(when: Option<Instant>) -> Due {
    when.map_or(Due::Never, Due::At)
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

/// Waits for a tick. Made by [`Interval::tick`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Tick<'a> {
    interval: &'a mut Interval,
}

impl Future for Tick<'_> {
    type Output = Instant;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        self.interval.poll_tick(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(50);

    #[test]
    fn a_tick_in_time_sets_the_next_from_its_own_time() {
        let tick = Instant::now();
        for behavior in [
            MissedTickBehavior::Burst,
            MissedTickBehavior::Delay,
            MissedTickBehavior::Skip,
        ] {
            for late in [0, 1, 49] {
                let now = tick + Duration::from_millis(late);
                assert_eq!(behavior.next(tick, now, PERIOD), Some(tick + PERIOD));
            }
        }
    }

    #[test]
    fn missed_ticks() {
        let tick = Instant::now();
        for (late, skip) in [(50, 100), (51, 100), (110, 150), (149, 150), (150, 200)] {
            let now = tick + Duration::from_millis(late);
            assert_eq!(
                MissedTickBehavior::Burst.next(tick, now, PERIOD),
                Some(tick + PERIOD)
            );
            assert_eq!(
                MissedTickBehavior::Delay.next(tick, now, PERIOD),
                Some(now + PERIOD)
            );
            let expected = tick + Duration::from_millis(skip);
            assert_eq!(
                MissedTickBehavior::Skip.next(tick, now, PERIOD),
                Some(expected),
                "{late} late"
            );
        }
    }

    #[test]
    fn ten_thousand_ticks_do_not_drift() {
        let start = Instant::now();
        let mut tick = start;
        for _ in 0..10_000 {
            tick = MissedTickBehavior::Burst
                .next(tick, tick + Duration::from_micros(333), PERIOD)
                .unwrap();
        }
        assert_eq!(tick, start + PERIOD * 10_000);
    }

    #[test]
    fn a_period_beyond_all_instants_never_ticks_again() {
        let now = Instant::now();
        assert_eq!(
            MissedTickBehavior::Burst.next(now, now, Duration::MAX),
            None
        );
    }
}
