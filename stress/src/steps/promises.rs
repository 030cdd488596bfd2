//! Promises that are kept, broken and cancelled.

use std::sync::Arc;

use heist::{Deferred, Handle, Promise, promise};

use super::Scene;
use super::acts::have;
use super::callbacks::register;
use super::tasks::wait;
use crate::oracle::{Kind, Outcome, Record, Registered, World};
use crate::program::{By, Step, Wait};
use crate::watched::Output;

pub(super) async fn do_promise(
    scene: &Scene,
    step: &Step,
    on: u8,
    by: By,
    keep: bool,
    callbacks: u8,
    then: Wait,
) {
    let world = &scene.world;
    let place = world.place(on);
    let record = world.record(step.number, &place, Kind::Promise, true, false);
    // Whoever is to keep the promise may be cancelled, or be refused.
    record.ask();
    let (promise, deferred) = promise::<Output>();
    let add = |function: Registered| {
        deferred.add_done_callback(move |finished| {
            let outcome = Outcome::of(finished.result().map(|output| output.value));
            function(&finished.task_ref(), Some(outcome));
        })
    };
    // Without a runtime that is current it would start the process-wide one, which nobody watches.
    if Handle::try_current().is_some() {
        let remove = |id| deferred.remove_done_callback(id);
        register(world, &record, callbacks, add, remove);
    }
    let keeper = (Arc::clone(world), Arc::clone(&record));
    have(scene, &place, by, step.number as u8 % 3, move || {
        complete(&keeper.0, &keeper.1, promise, keep);
    });
    wait_for_promise(world, &record, deferred, then).await;
}

fn complete(world: &Arc<World>, record: &Record, promise: Promise<Output>, keep: bool) {
    if keep {
        record.on_return();
        // Given back if nobody waits any more; dropped here, then.
        let given_back = promise.set_result(Output::new(world, record.number(), false));
        record.on_keep(given_back.is_ok());
    }
}

async fn wait_for_promise(
    world: &Arc<World>,
    record: &Arc<Record>,
    deferred: Deferred<Output>,
    then: Wait,
) {
    match then {
        Wait::Await => wait(world, record, deferred).await,
        Wait::Drop => drop(deferred),
        Wait::Cancel => {
            deferred.cancel();
            wait(world, record, deferred).await;
        }
        Wait::Share(count) => {
            let shared = deferred.share();
            for _ in 1..count {
                let (inner, record, shared) =
                    (Arc::clone(world), Arc::clone(record), shared.clone());
                let other = async move { wait(&inner, &record, shared).await };
                world.place(0).handle().spawn(other).detach();
            }
            wait(world, record, shared).await;
        }
    }
}
