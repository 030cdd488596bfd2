//! The callbacks that steps add and take back.

use std::sync::Arc;

use heist::task::CallbackId;
use heist::{Task, TaskRef};

use crate::oracle::{Callback, Habits, Outcome, Record, Registered, World, add_callback};
use crate::watched::Output;

pub(super) fn habits(record: &Record, index: u64) -> Habits {
    let salt = record.number().wrapping_mul(31).wrapping_add(index);
    Habits {
        panics: salt.is_multiple_of(13),
        adds: salt.is_multiple_of(5),
        spawns: salt.is_multiple_of(7),
    }
}

pub(super) fn add_untyped(
    world: &Arc<World>,
    record: &Arc<Record>,
    task: &TaskRef,
    habits: Habits,
) {
    add_callback(world, record, habits, |function| {
        task.add_done_callback(move |task| function(task, None))
    });
}

/// Adds some callbacks, and takes some of them back.
pub(super) fn register(
    world: &Arc<World>,
    record: &Arc<Record>,
    count: u8,
    add: impl Fn(Registered) -> CallbackId,
    remove: impl Fn(CallbackId) -> bool,
) {
    let mut added: Vec<(Arc<Callback>, CallbackId)> = Vec::new();
    for index in 0..count {
        added.push(add_callback(
            world,
            record,
            habits(record, index.into()),
            &add,
        ));
    }
    for (index, (callback, id)) in added.iter().enumerate() {
        if (record.number() + index as u64).is_multiple_of(4) && remove(*id) {
            callback.on_removed(world);
            if remove(*id) {
                world.fail("a callback was removed twice");
            }
        }
    }
}

pub(super) fn register_on_task(
    world: &Arc<World>,
    record: &Arc<Record>,
    count: u8,
    task: &Task<Output>,
) {
    let typed = |function: Registered| {
        task.add_done_callback(move |finished| {
            let outcome = Outcome::of(finished.result().map(|output| output.value));
            function(&finished.task_ref(), Some(outcome));
        })
    };
    let remove = |id| task.remove_done_callback(id);
    register(world, record, count, typed, remove);
    if count == 2 {
        add_untyped(world, record, &task.task_ref(), habits(record, 7));
    }
}
