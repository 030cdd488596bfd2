//! A condition variable: tokens under a mutex, and those who wait for some.
//!
//! Each token comes with a notification, and one that was for somebody who goes away is for the next one: while there are tokens nobody waits
//! for long. The last one who gives sees to that. Then it tells one waiter that it is gone, and each one that hears it tells the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use heist::sync::{Condvar, Mutex, MutexGuard};
use heist::time::sleep;

use super::{Arena, Attempt, Shared};
use crate::counts::Counted;
use crate::oracle::patience;
use crate::program::Ask;

#[derive(Debug)]
pub(super) struct Pool {
    tokens: Arc<Mutex<Tokens>>,
    changed: Condvar,
    /// How many wait for a token.
    taking: AtomicU64,
}

/// Waits for a token.
struct Taking<'a>(&'a Pool);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.0.taking.fetch_sub(1, SeqCst);
    }
}

#[derive(Debug, Default)]
struct Tokens {
    free: u64,
    given: u64,
    taken: u64,
    /// Nobody will give any more.
    ended: bool,
}

impl Tokens {
    fn are_missing(&mut self) -> bool {
        self.free == 0 && !self.ended
    }

    /// Whether they have come to their end.
    fn take(&mut self) -> bool {
        if self.free > 0 {
            self.free -= 1;
            self.taken += 1;
        }
        self.ended
    }
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            tokens: Arc::default(),
            changed: Condvar::new(),
            taking: AtomicU64::new(0),
        }
    }

    pub(super) async fn use_it(&self, attempt: &Attempt<'_>) {
        let over = if attempt.seat.gives {
            let give = || async {
                let tokens = self.give(attempt, self.tokens.lock().await);
                // Those who were told want the lock, and some of them go away meanwhile.
                if tokens.is_some() {
                    sleep(Duration::from_micros(100) * (attempt.step.number % 16)).await;
                }
            };
            let blocking = || drop(self.give(attempt, self.tokens.lock_blocking()));
            let at_once = || {
                let tokens = self.tokens.try_lock().ok()?;
                drop(self.give(attempt, tokens));
                Some(())
            };
            attempt.wait(give, blocking, at_once).await
        } else {
            let owned = attempt.deed.how == Ask::Owned;
            let take = || async move {
                if owned {
                    self.take_owned().await;
                } else {
                    self.take().await;
                }
            };
            let at_once = || {
                self.took(self.tokens.try_lock().ok()?);
                Some(())
            };
            self.taking.fetch_add(1, SeqCst);
            let _taking = Taking(self);
            attempt.wait(take, || self.take_blocking(), at_once).await
        };
        if over.is_some() {
            attempt.scene.world.count(Counted::Signal);
        }
    }

    /// Tells those who wait, with the lock or without it.
    fn give<'a>(
        &self,
        attempt: &Attempt<'_>,
        mut tokens: MutexGuard<'a, Tokens>,
    ) -> Option<MutexGuard<'a, Tokens>> {
        let count = attempt.deed.amount;
        tokens.free += u64::from(count);
        tokens.given += u64::from(count);
        let locked = attempt.step.number.is_multiple_of(2).then_some(tokens);
        match attempt.step.number % 3 {
            0 => self.changed.notify_many(count.into()),
            1 => (0..count).for_each(|_| self.changed.notify_one()),
            _ => self.changed.notify_all(),
        }
        locked
    }

    async fn take(&self) {
        let tokens = self.tokens.lock().await;
        let missing = Tokens::are_missing;
        let tokens = self.changed.wait_while(tokens, missing).await;
        self.took(tokens);
    }

    async fn take_owned(&self) {
        let mut tokens = Arc::clone(&self.tokens).lock_owned().await;
        while tokens.are_missing() {
            tokens = self.changed.wait_owned(tokens).await;
        }
        if tokens.take() {
            self.changed.notify_one();
        }
    }

    fn take_blocking(&self) {
        let mut tokens = self.tokens.lock_blocking();
        while tokens.are_missing() {
            tokens = self.changed.wait_blocking(tokens);
        }
        self.took(tokens);
    }

    fn took(&self, mut tokens: MutexGuard<'_, Tokens>) {
        if tokens.take() {
            self.changed.notify_one();
        }
    }

    /// Says so on a thread of its own: whoever is the last may be in the middle of a drop.
    pub(super) fn on_givers_gone(arena: &Arc<Arena>) {
        let inner = Arc::clone(arena);
        arena.world.thread(move || {
            if let Shared::Pool(pool) = &inner.shared {
                pool.check_behind(&inner);
                pool.tokens.lock_blocking().ended = true;
                pool.changed.notify_one();
            }
        });
    }

    /// Waits until nobody waits, or no token is free.
    fn check_behind(&self, arena: &Arena) {
        let begun = Instant::now();
        while !arena.world.is_closing() {
            let free = self.tokens.lock_blocking().free;
            if free == 0 || self.taking.load(SeqCst) == 0 {
                return;
            }
            if begun.elapsed() > patience() {
                arena.fail("somebody is left behind, and there are tokens");
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn check_end(&mut self) -> Option<String> {
        let Ok(tokens) = self.tokens.try_lock() else {
            return Some("it is not free".to_owned());
        };
        (tokens.given != tokens.taken + tokens.free).then(|| format!("{tokens:?} are left"))
    }
}
