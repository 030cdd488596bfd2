//! Models of protocols that only this crate can reach, for the loom tests: each is one execution, to be explored by
//! `loom::model`.
//!
//! They run the shared state of a scheduler without its threads, so that no more is explored than the protocol.

use std::any::Any;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use heist_core::driver::{Driver, Wait};
use heist_core::platform::Platform;
use heist_core::schedule::worker_frame;
use heist_core::task::{self, Meta, Ran, Runnable, RunnableSlot};

use crate::block_on::block_on;
use crate::config::Config;
use crate::platform::SystemPlatform;
use crate::queue::Local;
use crate::shared::{CLOSING, Shared};
use crate::shutdown::shutdown;
use crate::sleep::Bed;
use crate::steal::{rob, take_one};
use crate::sync::{self, Arc, AtomicUsize, Relaxed, full_fence, thread};

pub use crate::blocking::models::*;
pub use crate::sleep::models::*;

/// The owner of a LIFO slot fills it, displaces from it and empties it, while a thief takes what is there.
pub fn owner_against_thief_of_the_lifo_slot() {
    let shared = shared(1);
    let local = local(&shared, 0);
    let ran = Arc::new(AtomicUsize::new(0));
    let thief = thread::spawn({
        let slot = Arc::clone(&local.slot);
        move || rob(&slot).map(run).is_some()
    });
    worker_frame(&shared, &local, 0, || {
        for _ in 0..2 {
            let ran = Arc::clone(&ran);
            let body = async move {
                ran.fetch_add(1, Relaxed);
            };
            task::spawn(&shared, body, Meta::caller()).detach();
        }
        let next = || local.slot.own.lifo.take().or_else(|| local.stack.pop());
        while let Some(runnable) = next() {
            run(runnable);
        }
    });
    thief.join().expect("no panic");
    assert_eq!(ran.load(Relaxed), 2, "each task runs once");
    drop(local);
    end(&shared);
}

/// Two threads put a task each into a slot, and the second one gets what the first has left.
pub fn two_threads_fill_a_slot() {
    let shared = shared(2);
    let slot = Arc::new(RunnableSlot::new());
    let fill = |index| {
        let (shared, slot) = (Arc::clone(&shared), Arc::clone(&slot));
        move || {
            let local = local(&shared, index);
            worker_frame(&shared, &local, index, || {
                task::spawn(&shared, async {}, Meta::caller()).detach();
                let own = local.slot.own.lifo.take().expect("it was spawned");
                if let Some(theirs) = slot.swap(own) {
                    run(theirs);
                }
            });
        }
    };
    let other = thread::spawn(fill(1));
    fill(0)();
    other.join().expect("no panic");
    run(slot.take().expect("the second one stays"));
    end(&shared);
}

/// Two workers end the last two tasks while shutdown waits: one of them, or shutdown itself, sees both gone.
pub fn the_last_two_tasks_end_while_shutdown_waits() {
    let shared = shared(2);
    let seats = [0, 1].map(|index| {
        let local = local(&shared, index);
        worker_frame(&shared, &local, index, || {
            task::spawn(&shared, async {}, Meta::caller()).detach();
        });
        local.into_seat()
    });
    // Without the close: a worker may see that late, and locks nothing until it does.
    shared.enter_phase(CLOSING);
    let mut index = 0;
    let workers = seats.map(|seat| {
        let slot = Arc::clone(&shared.slots[index]);
        let local = (index, slot, seat);
        index += 1;
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let (index, slot, seat) = local;
            let local = Local::new(index, slot, seat);
            worker_frame(&shared, &local, index, || {
                run(local.slot.own.lifo.take().expect("it was spawned"));
                // As before each sleep.
                shared.check_empty();
            });
        })
    });
    shared.threads.gate.wait(&*shared.platform, None, || {
        full_fence("empty-fence");
        shared.registry.is_empty()
    });
    for worker in workers {
        worker.join().expect("no panic");
    }
    end(&shared);
}

/// A wake from outside is in flight while the task that it is for ends, and the runtime after it.
pub fn a_remote_wake_against_the_end_of_the_scheduler() {
    let shared = shared(1);
    let place = Arc::new(sync::Mutex::new(None::<Waker>));
    let left = Arc::clone(&place);
    let body = poll_fn(move |cx| {
        *left.lock() = Some(cx.waker().clone());
        Poll::<()>::Pending
    });
    let task = task::spawn(&shared, body, Meta::caller());
    run(take_one(&shared.injector).expect("it was spawned"));
    let waker = place.lock().take().expect("it was polled");
    drop(place);
    // Somebody is to be woken: the waker has more to do for the scheduler.
    let parker = shared.platform.parker();
    shared.sleep.move_in(0, parker);
    let _ = shared.sleep.fall_asleep(0, Bed::Parker, false);
    // Keeps the memory, so that a use after the end is seen.
    let memory = Arc::downgrade(&shared);
    let other = thread::spawn(move || waker.wake());
    task.abort();
    while !task.is_finished() {
        match take_one(&shared.injector) {
            Some(runnable) => run(runnable),
            None => thread::yield_now(),
        }
    }
    drop(task);
    end(&shared);
    drop(shared);
    other.join().expect("no panic");
    // A wake that came after the end has left the rest to a thread of its own.
    let mut patience = 20;
    while memory.strong_count() > 0 {
        patience -= 1;
        assert!(patience > 0, "the scheduler goes with its last user");
        thread::yield_now();
    }
}

/// A token is kept when user code parks on the thread, and takes the one of `std::thread::park`.
pub fn a_token_outlives_other_parking() {
    let parker = SystemPlatform::with_key(0).parker();
    let other = thread::spawn({
        let parker = Arc::clone(&parker);
        move || parker.unpark()
    });
    sync::park(None);
    parker.park(None);
    other.join().expect("no panic");
}

/// A worker that has seen the phase of the end spawns nothing that nobody cancels.
pub fn a_spawn_on_a_worker_against_the_end() {
    let shared = shared(1);
    let local = local(&shared, 0);
    let ending = thread::spawn({
        let shared = Arc::clone(&shared);
        move || {
            shared.registry.close();
            shared.enter_phase(CLOSING);
        }
    });
    worker_frame(&shared, &local, 0, || {
        let seen = shared.phase() == CLOSING;
        let task = task::spawn(&shared, async {}, Meta::caller());
        assert!(task.is_finished() || !seen, "it has not seen the close");
        if let Some(runnable) = local.slot.own.lifo.take() {
            run(runnable);
        }
    });
    drop(local);
    ending.join().expect("no panic");
    end(&shared);
}

/// A task is listed when the runtime begins to end, and queued when it is over.
pub fn a_spawn_from_outside_against_an_end_without_grace() {
    let shared = shared(1);
    let other = thread::spawn({
        let shared = Arc::clone(&shared);
        move || task::spawn(&shared, async {}, Meta::caller())
    });
    drop(shutdown(&shared, Duration::ZERO));
    let task = other.join().expect("no panic");
    let gate = &shared.threads.gate;
    gate.wait(&*shared.platform, None, || task.is_finished());
}

/// Whoever sees that shutdown is over sees what it did.
pub fn two_shut_down() {
    let shared = shared(1);
    let done = Arc::new(AtomicUsize::new(0));
    let other = thread::spawn({
        let (shared, done) = (Arc::clone(&shared), Arc::clone(&done));
        move || {
            done.store(1, Relaxed);
            shared.finish_shutdown();
        }
    });
    let gate = &shared.threads.gate;
    gate.wait(&*shared.platform, None, || shared.is_finished());
    assert_eq!(done.load(Relaxed), 1);
    other.join().expect("no panic");
    shared.registry.close();
    shared.registry.release();
}

/// The shared state of a scheduler with so many slots, none of which has a thread.
pub(crate) fn shared(workers: usize) -> Arc<Shared> {
    shared_with(Config {
        worker_threads: workers,
        ..Config::default()
    })
}

/// The same with other settings, and without spares.
pub(crate) fn shared_with(config: Config) -> Arc<Shared> {
    let config = Config {
        max_spare_workers: 0,
        ..config
    };
    let platform = Arc::new(SystemPlatform::with_key(0));
    Shared::new(config, platform, Arc::new(NoDriver))
}

fn local(shared: &Shared, index: usize) -> Local {
    let slot = &shared.slots[index];
    shared.slots_used.fetch_max(index + 1, Relaxed);
    let seat = slot.take_seat().expect("nobody has it");
    Local::new(index, Arc::clone(slot), seat)
}

pub(crate) fn run(runnable: Runnable) {
    assert!(!matches!(runnable.run(), Ran::Yielded(_)));
}

/// Shuts down what has no workers.
pub(crate) fn end(shared: &Arc<Shared>) {
    let report = shutdown(shared, Duration::from_secs(1));
    assert!(report.is_clean(), "{report:?}");
}

/// Nobody ever sleeps there.
#[derive(Debug)]
struct NoDriver;

impl Driver for NoDriver {
    fn turn(&self, _: usize, _: Wait) -> usize {
        0
    }

    fn unpark(&self) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn advance(&self, _: usize) -> usize {
        0
    }

    fn shut_down(&self) {}

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A foreign thread ends the last task while the runtime closes: its end is seen, or it sees that it has to tell.
pub fn the_last_root_against_shutdown() {
    let shared = shared(1);
    let other = thread::spawn({
        let shared = Arc::clone(&shared);
        // Refused if the runtime was faster.
        move || drop(block_on(&shared, async {}, Meta::caller()))
    });
    end(&shared);
    other.join().expect("no panic");
}
