//! Whoever publishes work wakes a worker for it. No clock helps: who sleeps here does so until somebody wakes it.

mod support;

use std::any::Any;
use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use heist_core::driver::{Driver, Wait};
use heist_core::future::promise;
use heist_core::platform::{Parker, Platform};
use heist_scheduler::{Config, Scheduler, SystemPlatform};
use support::{FakeDriver, bounded, meta, stop, times, wait_until};

/// A platform whose parkers know no deadlines.
#[derive(Debug)]
struct WithoutAlarm(SystemPlatform);

impl Platform for WithoutAlarm {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn parker(&self) -> Arc<dyn Parker> {
        Arc::new(DeepSleep(self.0.parker()))
    }

    fn seed(&self) -> u64 {
        self.0.seed()
    }
}

#[derive(Debug)]
struct DeepSleep(Arc<dyn Parker>);

impl Parker for DeepSleep {
    fn park(&self, _: Option<Instant>) {
        self.0.park(None);
    }

    fn unpark(&self) {
        self.0.unpark();
    }
}

/// A driver that knows no deadlines but those of its timers.
#[derive(Debug, Default)]
struct DeepDriver(FakeDriver);

impl Driver for DeepDriver {
    fn turn(&self, shard: usize, wait: Wait) -> usize {
        let wait = match wait {
            Wait::Until(_) => Wait::Forever,
            Wait::Never | Wait::Forever => wait,
        };
        self.0.turn(shard, wait)
    }

    fn unpark(&self) {
        self.0.unpark();
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.0.next_deadline()
    }

    fn advance(&self, shard: usize) -> usize {
        self.0.advance(shard)
    }

    fn shut_down(&self) {
        self.0.shut_down();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn start(workers: usize) -> Scheduler {
    let mut config = Config::default();
    config.worker_threads = workers;
    config.blocked_worker_threshold = None;
    let platform = Arc::new(WithoutAlarm(SystemPlatform::new()));
    Scheduler::start(config, |_| Ok(Arc::new(DeepDriver::default())), platform)
        .expect("a scheduler")
}

/// With one that sleeps in the driver, and with more on their parkers.
const WORKERS: [usize; 2] = [2, 4];

/// Long polls of one scheduler.
const POLLS: usize = 20;

/// What one of them goes through. The first round may have help from whoever the poll itself got up.
const ROUNDS: usize = 40;

/// Waits until all workers but the caller's have lain down, some just now and some for a while.
fn others_sleep(scheduler: &Scheduler, workers: usize, round: usize) {
    wait_until("the other workers sleep", || {
        scheduler.metrics().sleeping_workers == workers - 1
    });
    for _ in 0..round % ROUNDS * 50 {
        hint::spin_loop();
    }
}

/// A counter, and a task that adds to it.
#[derive(Clone, Default)]
struct Ran(Arc<AtomicUsize>);

impl Ran {
    fn task(&self) -> impl Future<Output = ()> + Send + 'static {
        let ran = self.clone();
        async move {
            ran.0.fetch_add(1, SeqCst);
        }
    }

    #[track_caller]
    fn reaches(&self, count: usize) {
        wait_until("the others run it", || self.0.load(SeqCst) >= count);
    }
}

#[test]
fn a_task_that_the_next_spawn_displaces_is_run_while_the_poll_goes_on() {
    bounded("a task that spawns two and stays in its poll", || {
        for workers in WORKERS {
            let scheduler = start(workers);
            for _ in 0..times(POLLS) {
                let own = scheduler.clone();
                let stays = async move {
                    let ran = Ran::default();
                    for round in 1..=ROUNDS {
                        others_sleep(&own, workers, round);
                        own.spawn(ran.task(), meta()).detach();
                        own.spawn(ran.task(), meta()).detach();
                        // The last one may stay where this worker takes it next.
                        ran.reaches(2 * round - 1);
                    }
                };
                let stays = scheduler.spawn(stays, meta());
                scheduler.block_on(stays, meta()).unwrap().unwrap();
            }
            stop(&scheduler);
        }
    });
}

#[test]
fn a_task_that_the_next_wake_displaces_is_run_while_the_poll_goes_on() {
    bounded("a task that wakes two and stays in its poll", || {
        for workers in WORKERS {
            let scheduler = start(workers);
            for _ in 0..times(POLLS) {
                let (ran, waiting) = (Ran::default(), Arc::new(AtomicUsize::new(0)));
                let wakes: Vec<_> = (0..2 * ROUNDS)
                    .map(|_| {
                        let (wake, woken) = promise();
                        let (waits, counts) = (Arc::clone(&waiting), ran.task());
                        let task = async move {
                            waits.fetch_add(1, SeqCst);
                            if woken.await.is_ok() {
                                counts.await;
                            }
                        };
                        scheduler.spawn(task, meta()).detach();
                        wake
                    })
                    .collect();
                wait_until("all of them wait", || waiting.load(SeqCst) == 2 * ROUNDS);
                let own = scheduler.clone();
                let stays = async move {
                    let mut wakes = wakes.into_iter();
                    for round in 1..=ROUNDS {
                        others_sleep(&own, workers, round);
                        for wake in wakes.by_ref().take(2) {
                            wake.set_result(()).unwrap();
                        }
                        ran.reaches(2 * round - 1);
                    }
                };
                let stays = scheduler.spawn(stays, meta());
                scheduler.block_on(stays, meta()).unwrap().unwrap();
            }
            stop(&scheduler);
        }
    });
}

#[test]
fn a_spawn_from_outside_is_run_while_the_only_worker_awake_is_inside_a_poll() {
    bounded("spawns from outside beside a long poll", || {
        for workers in WORKERS {
            let scheduler = start(workers);
            for _ in 0..times(POLLS) {
                let (inside, over) = (Arc::new(AtomicBool::new(false)), Arc::default());
                let (begins, ends) = (Arc::clone(&inside), Arc::<AtomicBool>::clone(&over));
                let stays = async move {
                    begins.store(true, SeqCst);
                    wait_until("the poll may end", || ends.load(SeqCst));
                };
                let stays = scheduler.spawn(stays, meta());
                wait_until("the poll has begun", || inside.load(SeqCst));
                let ran = Ran::default();
                for round in 1..=ROUNDS {
                    others_sleep(&scheduler, workers, round);
                    scheduler.spawn(ran.task(), meta()).detach();
                    ran.reaches(round);
                }
                over.store(true, SeqCst);
                scheduler.block_on(stays, meta()).unwrap().unwrap();
            }
            stop(&scheduler);
        }
    });
}
