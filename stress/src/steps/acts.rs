//! Who does what to a task.

use std::sync::Arc;
use std::thread;

use heist::TaskRef;

use super::{Scene, yields};
use crate::oracle::{Place, Record};
use crate::program::{Act, By, What};

/// Has `f` done by somebody.
pub(super) fn have(
    scene: &Scene,
    place: &Place,
    by: By,
    yielding: u8,
    function: impl FnOnce() + Send + 'static,
) {
    let guard = scene.world.guard();
    let f = move || {
        let _guard = guard;
        function();
    };
    match by {
        By::Here => f(),
        By::Task => {
            let task = async move {
                yields(yielding).await;
                f();
            };
            place.handle().spawn(task).detach();
        }
        By::Thread => scene.world.thread(move || {
            for _ in 0..yielding {
                thread::yield_now();
            }
            f();
        }),
        By::Blocking => place.handle().spawn_blocking(f).detach(),
        By::Call => drop(place.handle().call_soon(f)),
    }
}

pub(super) async fn perform(scene: &Scene, record: &Arc<Record>, task: TaskRef, act: Act) {
    if act.by == By::Here {
        yields(act.yields).await;
    }
    let doer = Arc::clone(record);
    let request = move || {
        match act.what {
            What::Abort => doer.ask_abort(),
            What::CancelWith => doer.ask_with_reason(),
            _ => doer.ask(),
        }
        let (accepted, abort) = match act.what {
            What::Cancel => (task.cancel(), false),
            What::CancelWith => (task.cancel_with("asked by the program"), false),
            What::Abort => (task.abort(), true),
            What::CancelAndUncancel => {
                task.cancel();
                task.uncancel();
                (false, false)
            }
        };
        if accepted {
            doer.accepted(abort);
        }
    };
    have(scene, &record.place, act.by, act.yields, request);
}
