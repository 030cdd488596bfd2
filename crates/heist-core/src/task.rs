//! Tasks: one heap block with a state word, the right to poll it, and the handles on it.
//!
//! ```text
//!            spawn                    wake, cancel                   run
//!  future ─────────► Cell ──► Runnable ──────────► scheduler's queue ─────► poll ──► over
//!                     ▲  ▲        ▲                                          │        │
//!       Task (join) ──┘  │        └───────── woken while it ran ─────────────┤        ├─► done-callbacks
//!    TaskRef, Waker ─────┘                                                   └─ idle  └─► the one who awaits
//! ```
//! `state` has the complete table of states and events, `cell` the memory and its invariants, `callback` and `cancel` what
//! their names say.

pub(crate) mod block;
pub(crate) mod cell;
pub(crate) mod extras;
pub(crate) mod handle;
pub(crate) mod harness;
pub(crate) mod id;
pub(crate) mod root;
pub(crate) mod runnable;
pub(crate) mod spawn;
pub(crate) mod state;
pub(crate) mod task_ref;
pub(crate) mod waker;

pub use crate::callback::{CallbackId, Finished};
pub use crate::error::TaskError;
pub use crate::shared::Shared;
pub use cell::Header;
pub use handle::{CancelOnDrop, LocalTask, Task};
pub use id::TaskId;
pub(crate) use root::InnerRoot;
pub use root::{Root, block_on, refuse};
pub use runnable::{Ran, Runnable, RunnableSlot};
pub use spawn::{spawn, spawn_blocking, spawn_local, try_spawn};
pub use state::TaskState;
pub use task_ref::{TaskRef, current, current_id, try_current, waiting_id};

use std::panic::Location;

/// What a task is called and where it comes from.
#[derive(Clone, Debug)]
pub struct Meta {
    /// Where it was spawned.
    pub location: &'static Location<'static>,
    /// Its name, if it is not to be `Task-` and its id.
    pub name: Option<String>,
}

impl Meta {
    /// A task without a name, from the caller's place.
    #[track_caller]
    pub fn caller() -> Self {
        Self {
            location: Location::caller(),
            name: None,
        }
    }

    /// The same with a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
