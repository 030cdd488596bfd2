//! Models of the protocol in `README.md`, for the loom tests: each is one execution, to be explored by
//! `loom::model`.

#![expect(clippy::missing_panics_doc, reason = "a model fails by a panic")]

use heist_core::platform::{Parker, Platform};

use super::role::Role;
use super::{Bed, Rest, Sleep, Wake};
use crate::platform::SystemPlatform;
use crate::sync::{Arc, AtomicUsize, Injector, Relaxed, Steal, thread};

/// One queue, some workers and whoever publishes.
struct World {
    sleep: Sleep,
    role: Role,
    queue: Injector<u32>,
    /// Ends a turn of the driver, in which only the thread sleeps that made this.
    driver: Arc<dyn Parker>,
}

impl World {
    fn new(workers: usize) -> Arc<Self> {
        Self::with_slots(workers, workers)
    }

    fn with_slots(slots: usize, workers: usize) -> Arc<Self> {
        let sleep = Sleep::new(slots, workers);
        for _ in 0..workers {
            sleep.first_slot();
        }
        Arc::new(Self {
            sleep,
            role: Role::new(),
            queue: Injector::new(),
            driver: parker(),
        })
    }

    fn take(&self) -> Option<u32> {
        match self.queue.steal() {
            Steal::Success(item) => Some(item),
            Steal::Empty | Steal::Retry => None,
        }
    }

    fn publish(&self, item: u32) {
        self.queue.push(item);
        self.notify();
    }

    fn notify(&self) {
        if self.sleep.must_wake() {
            self.wake(self.sleep.take_sleeper(false));
        }
    }

    fn wake(&self, wake: Wake) {
        match wake {
            Wake::Nobody => {}
            Wake::Parker(parker) => parker.unpark(),
            Wake::Driver => self.driver.unpark(),
            // No thread can be started.
            Wake::Spare { slot, .. } => drop(self.sleep.spare_failed(slot)),
        }
    }

    /// The loop of a worker that looks for one item. `asleep`: it is in the list already.
    fn find_one(&self, index: usize, parker: &dyn Parker, asleep: bool) -> u32 {
        let mut searching = false;
        if asleep {
            parker.park(None);
            searching = !self.sleep.leave(index);
        }
        loop {
            if let Some(item) = self.take() {
                if searching && self.sleep.end_search() && !self.queue.is_empty() {
                    self.notify();
                }
                return item;
            }
            match self.sleep.fall_asleep(index, Bed::Parker, searching, true) {
                Rest::Asleep { .. } => {}
                Rest::Retire => unreachable!("nobody was blocked"),
            }
            if self.queue.is_empty() {
                parker.park(None);
                searching = !self.sleep.leave(index);
            } else {
                self.sleep.leave_searching(index);
                searching = true;
            }
        }
    }
}

fn parker() -> Arc<dyn Parker> {
    SystemPlatform::with_key(0).parker()
}

/// Claim 1: one worker that falls asleep, one publisher.
pub fn push_against_falling_asleep() {
    let world = World::new(1);
    let worker = thread::spawn({
        let world = Arc::clone(&world);
        move || {
            let parker = parker();
            world.sleep.move_in(0, Arc::clone(&parker));
            world.find_one(0, &*parker, false)
        }
    });
    world.publish(7);
    assert_eq!(worker.join().expect("the worker does not panic"), 7);
}

/// Claim 1 with two of each.
pub fn two_pushes_against_two_falling_asleep() {
    let world = World::new(2);
    let workers: Vec<_> = (0..2)
        .map(|index| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let parker = parker();
                world.sleep.move_in(index, Arc::clone(&parker));
                world.find_one(index, &*parker, false)
            })
        })
        .collect();
    world.publish(1);
    world.publish(2);
    let found: u32 = workers
        .into_iter()
        .map(|worker| worker.join().expect("no panic"))
        .sum();
    assert_eq!(found, 3);
}

/// Claim 1 with the other bed: this thread sleeps in the driver, another one falls asleep on its parker.
pub fn two_pushes_against_the_sleeper_in_the_driver() {
    let world = World::new(2);
    world.sleep.move_in(1, parker());
    assert!(world.role.try_acquire(1));
    // Nobody joins: loom takes an unpark of a thread that waits for the end of another one for that end.
    let found = Arc::new(AtomicUsize::new(0));
    let find = move |item: u32| {
        let before = found.fetch_or(1 << item, Relaxed);
        assert_eq!(before & 1 << item, 0, "an item is found once");
    };
    thread::spawn({
        let (world, find) = (Arc::clone(&world), find.clone());
        move || {
            let parker = parker();
            world.sleep.move_in(0, Arc::clone(&parker));
            find(world.find_one(0, &*parker, false));
        }
    });
    thread::spawn({
        let world = Arc::clone(&world);
        move || {
            world.publish(1);
            world.publish(2);
        }
    });
    loop {
        let rest = world.sleep.fall_asleep(1, Bed::Driver, false, true);
        assert!(matches!(rest, Rest::Asleep { .. }), "nobody was blocked");
        if world.queue.is_empty() {
            world.driver.park(None);
        }
        let searching = !world.sleep.leave(1);
        let found = world.take();
        if searching && world.sleep.end_search() && !world.queue.is_empty() {
            world.notify();
        }
        if let Some(item) = found {
            find(item);
            break;
        }
    }
    world.role.release();
}

/// Claim 2: nobody relies on a thread that was to be started in the place of a blocked worker, and does not come.
pub fn two_pushes_against_a_spare_that_does_not_come() {
    let world = World::with_slots(3, 2);
    world.sleep.move_in(1, parker());
    let worker = thread::spawn({
        let world = Arc::clone(&world);
        move || {
            let parker = parker();
            world.sleep.move_in(0, Arc::clone(&parker));
            let first = world.find_one(0, &*parker, false);
            first + world.find_one(0, &*parker, false)
        }
    });
    assert!(world.sleep.block(&parker()));
    let publisher = thread::spawn({
        let world = Arc::clone(&world);
        move || world.publish(1)
    });
    world.publish(2);
    publisher.join().expect("no panic");
    assert_eq!(worker.join().expect("no panic"), 3);
}

/// Claim 2: the publisher relies on a searcher that finds something else, and never comes back.
pub fn push_against_last_searcher() {
    let world = World::new(2);
    world.queue.push(1);
    let sleeper = thread::spawn({
        let world = Arc::clone(&world);
        move || {
            let parker = parker();
            world.sleep.move_in(1, Arc::clone(&parker));
            world.find_one(1, &*parker, false)
        }
    });
    let searcher = thread::spawn({
        let world = Arc::clone(&world);
        move || {
            let searching = world.sleep.try_search();
            let found = world.take();
            if searching && world.sleep.end_search() && !world.queue.is_empty() {
                world.notify();
            }
            found
        }
    });
    world.publish(2);
    let first = searcher.join().expect("no panic");
    if first.is_none() {
        // The sleeper was faster and has taken one: the other one is for whoever comes next.
        sleeper.join().expect("no panic");
        return;
    }
    let second = sleeper.join().expect("no panic");
    assert_eq!(first.unwrap_or(0) + second, 3);
}

/// Claim 3: a worker gets up by itself while somebody takes it.
pub fn taken_against_leaving() {
    let world = World::new(1);
    let own = parker();
    world.sleep.move_in(0, Arc::clone(&own));
    let Rest::Asleep { .. } = world.sleep.fall_asleep(0, Bed::Parker, false, true) else {
        unreachable!("nobody was blocked")
    };
    let waker = thread::spawn({
        let world = Arc::clone(&world);
        move || {
            let taken = world.sleep.take_sleeper(false);
            let did = !matches!(taken, Wake::Nobody);
            world.wake(taken);
            did
        }
    });
    let by_itself = world.sleep.leave(0);
    let taken = waker.join().expect("no panic");
    assert_ne!(by_itself, taken);
    let counts = world.sleep.glance();
    assert_eq!(
        (counts.sleeping(), counts.searching()),
        (0, usize::from(taken))
    );
    if taken {
        assert!(world.sleep.end_search());
    }
}

/// Claim 4: worker 0 leaves the driver, for good, while worker 1, the watcher, finds that it may retire.
pub fn leaving_the_driver_against_retiring_watcher() {
    let world = World::new(2);
    assert!(world.role.try_acquire(0));
    let parkers = [parker(), parker()];
    for (index, parker) in parkers.iter().enumerate() {
        world.sleep.move_in(index, Arc::clone(parker));
    }
    // The last one to fall asleep sees all others asleep: so the one in the driver does not watch.
    for (index, bed) in [(1, Bed::Parker), (0, Bed::Driver)] {
        let Rest::Asleep { .. } = world.sleep.fall_asleep(index, bed, false, true) else {
            unreachable!("nobody was blocked")
        };
    }
    let leaver = thread::spawn({
        let world = Arc::clone(&world);
        move || {
            world.role.release();
            assert!(world.sleep.leave(0));
            world.wake(world.sleep.ensure_watch());
        }
    });
    // The watcher's period is over: it gets up, looks, and goes to sleep again until it has taken the driver over or
    // has a reason to get up again by itself.
    let mut quiet = world.role.is_held();
    assert!(world.sleep.leave(1));
    while !world.role.try_acquire(1) {
        let rest = world.sleep.fall_asleep(1, Bed::Parker, false, quiet);
        if rest == (Rest::Asleep { watch: true }) {
            break;
        }
        // Nobody watches, so whoever leaves the driver must appoint this one.
        parkers[1].park(None);
        assert!(world.sleep.leave(1));
        quiet = false;
    }
    leaver.join().expect("no panic");
}

/// Claim 5: all sleep, and nobody watches. Worker 1 is taken off its parker and leaves work of which it tells nobody, while
/// worker 0 comes out of the driver for nothing and goes back.
pub fn taken_while_nobody_watches() {
    let world = World::new(2);
    let parkers = [parker(), parker()];
    for (index, parker) in parkers.iter().enumerate() {
        world.sleep.move_in(index, Arc::clone(parker));
    }
    for (index, bed) in [(1, Bed::Parker), (0, Bed::Driver)] {
        let Rest::Asleep { .. } = world.sleep.fall_asleep(index, bed, false, true) else {
            unreachable!("nobody was blocked")
        };
    }
    // As the watcher does before it sleeps for ever.
    assert!(world.sleep.leave(1));
    let rest = world.sleep.fall_asleep(1, Bed::Parker, false, true);
    assert_eq!(rest, Rest::Asleep { watch: false });
    let publisher = thread::spawn({
        let world = Arc::clone(&world);
        move || world.notify()
    });
    let driver = thread::spawn({
        let world = Arc::clone(&world);
        move || {
            let by_itself = world.sleep.leave(0);
            by_itself.then(|| world.sleep.fall_asleep(0, Bed::Driver, false, true))
        }
    });
    parkers[1].park(None);
    assert!(!world.sleep.leave(1));
    let appointed =
        world.sleep.is_unwatched() && !matches!(world.sleep.ensure_watch(), Wake::Nobody);
    publisher.join().expect("no panic");
    let rest = driver.join().expect("no panic");
    // Appointed, or it watches by itself.
    assert!(appointed || rest == Some(Rest::Asleep { watch: true }));
}
