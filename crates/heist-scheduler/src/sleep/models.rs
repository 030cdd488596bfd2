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
            match self.sleep.fall_asleep(index, Bed::Parker, searching) {
                Rest::Asleep(Wake::Nobody) => {}
                rest => unreachable!("nobody was blocked: {rest:?}"),
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
        let rest = world.sleep.fall_asleep(1, Bed::Driver, false);
        assert!(matches!(rest, Rest::Asleep(_)), "nobody was blocked");
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
    assert!(world.sleep.block(1));
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
    let Rest::Asleep(_) = world.sleep.fall_asleep(0, Bed::Parker, false) else {
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

/// The driver goes from hand to hand, and no turn is forgotten.
pub fn the_driver_goes_from_hand_to_hand() {
    let role = Arc::new(Role::new());
    let turn = |role: &Role, index| {
        let inside = role.try_acquire(index);
        if inside {
            role.release();
        }
        usize::from(inside)
    };
    let other = thread::spawn({
        let role = Arc::clone(&role);
        move || turn(&role, 1)
    });
    let made = turn(&role, 0) + other.join().expect("no panic");
    assert_eq!(role.turns(), made);
}

/// Claim 4: the monitor lies down to rest while the only worker falls asleep, is taken out of the list, and stays awake.
pub fn a_worker_gets_up_while_the_monitor_lies_down() {
    let world = World::new(1);
    let worker = thread::spawn({
        let world = Arc::clone(&world);
        move || {
            let parker = parker();
            world.sleep.move_in(0, Arc::clone(&parker));
            let mut calls = usize::from(world.sleep.must_call_monitor());
            let mut searching = false;
            while world.take().is_none() {
                let rest = world.sleep.fall_asleep(0, Bed::Parker, searching);
                assert!(matches!(rest, Rest::Asleep(_)));
                if world.queue.is_empty() {
                    parker.park(None);
                    searching = !world.sleep.leave(0);
                } else {
                    world.sleep.leave_searching(0);
                    searching = true;
                }
                calls += usize::from(world.sleep.must_call_monitor());
            }
            calls
        }
    });
    let publisher = thread::spawn({
        let world = Arc::clone(&world);
        move || world.publish(1)
    });
    let rests = world.sleep.may_rest(|| false);
    publisher.join().expect("no panic");
    let calls = worker.join().expect("no panic");
    assert_eq!(calls, usize::from(rests), "a monitor that rests is called");
}

/// Claim 4: the monitor lies down to rest while the only worker, which has announced that it blocks, comes back.
pub fn a_blocked_worker_is_back_while_the_monitor_lies_down() {
    let world = World::with_slots(2, 1);
    world.sleep.move_in(0, parker());
    assert!(world.sleep.block(0));
    let monitor = thread::spawn({
        let world = Arc::clone(&world);
        move || world.sleep.may_rest(|| false)
    });
    let called = world.sleep.unblock(0);
    let rests = monitor.join().expect("no panic");
    assert_eq!(called, rests, "a monitor that rests is called");
}

/// Claim 5: a worker comes out of a long poll and falls asleep while the monitor counts it as stalled.
pub fn a_poll_ends_while_it_is_counted_as_stalled() {
    let world = World::with_slots(2, 1);
    world.sleep.move_in(0, parker());
    let seq = Arc::new(AtomicUsize::new(1));
    let monitor = thread::spawn({
        let (world, seq) = (Arc::clone(&world), Arc::clone(&seq));
        move || {
            world.sleep.stall(0, || seq.load(Relaxed) == 1);
            // While it is counted as stalled, whatever it leaves in its LIFO slot is the monitor's to find.
            let rests = world.sleep.may_rest(|| false);
            assert!(!rests || world.sleep.glance().sleeping() == 1);
        }
    });
    seq.store(2, Relaxed);
    // As a worker does when it looks at the clock.
    if world.sleep.is_stalled(0) {
        world.sleep.end_stall(0);
    }
    let rest = world.sleep.fall_asleep(0, Bed::Driver, false);
    assert!(matches!(rest, Rest::Asleep(_)));
    monitor.join().expect("no panic");
    // The worker is the one that sleeps, and nobody is owed in its place.
    assert_eq!(world.sleep.glance().sleeping(), 1);
    assert!(!world.sleep.is_stalled(0));
    assert!(world.sleep.may_rest(|| false), "all that serve sleep");
}

/// Claim 6: the only worker is stuck in a poll that waits for what is published behind it. A spare serves in its place, the
/// worker comes back, and the spare retires.
pub fn a_spare_serves_while_the_worker_is_stuck() {
    let world = World::with_slots(2, 1);
    let count = Arc::new(Serving::default());
    let served = parker();
    world.sleep.move_in(0, parker());
    count.begin();
    thread::spawn({
        let (world, count, served) = (Arc::clone(&world), Arc::clone(&count), Arc::clone(&served));
        move || {
            // The monitor: it finds the worker stuck, which it is until the spare has served.
            assert!(world.sleep.stall(0, || true));
            count.end();
            world.queue.push(1);
            assert!(world.sleep.must_wake(), "nobody looks, one is owed");
            let Wake::Spare {
                slot,
                waiting: None,
            } = world.sleep.take_sleeper(false)
            else {
                unreachable!("nobody else could come")
            };
            count.begin();
            world.sleep.move_in(slot, parker());
            assert_eq!(world.take(), Some(1), "it comes for this");
            // The worker's poll ends.
            served.unpark();
            count.rest(&world.sleep, slot);
        }
    });
    served.park(None);
    // It serves again from when it says so.
    count.begin();
    assert!(world.sleep.is_stalled(0), "the monitor was first");
    world.sleep.end_stall(0);
    count.rest(&world.sleep, 0);
}

/// Claim 6: the one who serves blocks while the one who is too many gives its place up. Whoever comes first, somebody serves.
pub fn a_worker_blocks_while_another_one_retires() {
    let world = World::with_slots(2, 1);
    world.sleep.move_in(0, parker());
    assert!(world.sleep.block(0), "somebody can serve in its place");
    let Wake::Spare { slot, .. } = world.sleep.take_sleeper(true) else {
        unreachable!("one is owed")
    };
    world.sleep.move_in(slot, parker());
    let _calls = world.sleep.unblock(0);
    let first = thread::spawn({
        let world = Arc::clone(&world);
        move || match world.sleep.fall_asleep(slot, Bed::Parker, false) {
            Rest::Asleep(_) => None,
            Rest::Retire(_) => {
                let waiting = world.sleep.retire(slot, parker());
                let next = world.sleep.assigned(&waiting, false);
                Some((waiting, next))
            }
        }
    });
    assert!(world.sleep.block(0), "there is a place for somebody");
    let called = world.sleep.take_sleeper(true);
    let retired = first.join().expect("no panic");
    let again = world.sleep.take_sleeper(true);
    let Some((waiting, next)) = retired else {
        // It was not one too many any more, and went to sleep.
        assert!(matches!(called, Wake::Parker(_)) != matches!(again, Wake::Parker(_)));
        return;
    };
    let next = next.or_else(|| world.sleep.assigned(&waiting, false));
    assert_eq!(next, Some(slot), "{called:?}, {again:?}");
}

/// How many workers serve, and how many have gone to rest.
#[derive(Default)]
struct Serving {
    now: AtomicUsize,
    rested: AtomicUsize,
}

impl Serving {
    fn begin(&self) {
        let before = self.now.fetch_add(1, Relaxed);
        assert!(before <= 1, "one more than there should be, at most");
    }

    fn end(&self) {
        self.now.fetch_sub(1, Relaxed);
    }

    /// Nobody joins, see above: the second one that comes here looks how it has ended.
    fn rest(&self, sleep: &Sleep, index: usize) {
        if let Rest::Asleep(Wake::Parker(_)) = self.lie_down(sleep, index, false) {
            // The spare was asleep already. It is woken, and finds nothing to do.
            let rest = self.lie_down(sleep, 1, true);
            assert!(matches!(rest, Rest::Retire(Wake::Nobody)), "{rest:?}");
        }
        if self.rested.fetch_add(1, Relaxed) == 1 {
            // Takes the lock of the list, which makes the count exact.
            assert!(sleep.may_rest(|| false), "all that serve sleep");
            assert_eq!(sleep.glance().sleeping(), 1, "nobody is owed any more");
        }
    }

    fn lie_down(&self, sleep: &Sleep, index: usize, searching: bool) -> Rest {
        let rest = sleep.fall_asleep(index, Bed::Parker, searching);
        if let Rest::Retire(_) = rest {
            assert_ne!(index, 0, "a worker that was there from the start stays");
            let before = self.now.fetch_sub(1, Relaxed);
            assert_eq!(before, 2, "whoever retires leaves somebody behind");
        }
        rest
    }
}
