//! Catching a request to end, and what is done then.

use std::sync::Arc;
use std::thread;

use heist::task::{catch_cancel, try_current};

use super::{Scene, run};
use crate::counts::Counted;
use crate::oracle::{Record, World};
use crate::program::{CatchEnd, Step};

pub(super) async fn do_catch(scene: &Scene, step: &Step, end: CatchEnd) {
    let [body, clean_up] = &step.bodies[..] else {
        return;
    };
    let mut inside = scene.owner.as_ref().map(|owner| InCatch {
        world: &scene.world,
        owner,
        over: false,
    });
    let caught = catch_cancel(run(scene.clone(), Arc::clone(body))).await;
    if let Some(inside) = &mut inside {
        inside.over = true;
    }
    let Err(cancelled) = caught else {
        return;
    };
    if let Some(owner) = &scene.owner {
        owner.on_catch(&scene.world);
    }
    scene.world.count(Counted::Catch);
    run(scene.clone(), Arc::clone(clean_up)).await;
    match end {
        CatchEnd::Swallow => {}
        CatchEnd::Uncancel => {
            try_current().map(|task| task.uncancel());
        }
        CatchEnd::Resume => {
            if let Some(owner) = &scene.owner {
                owner.on_resume();
            }
            cancelled.resume::<()>().await;
        }
    }
}

/// Tells if a task goes while it is inside of a catcher.
struct InCatch<'a> {
    world: &'a World,
    owner: &'a Record,
    over: bool,
}

impl Drop for InCatch<'_> {
    fn drop(&mut self) {
        if !self.over && !thread::panicking() {
            self.owner.on_missed_catch(self.world);
        }
    }
}
