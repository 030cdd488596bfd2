//! The process-wide runtime: who is it?
//!
//! ```text
//!          run begins             its run has drained
//!   FREE ──────────────► RUN ──────────────────────────► FREE
//!    │                    │
//!    │  first use, build_global                          a nested or later run leaves it alone
//!    ▼
//!   OWN   started here, for the rest of the process
//! ```
//! A run that begins when there is an OWN one does not take the role: what was spawned goes on where it is.
//!
//! # Invariants
//!
//! * GLOBAL-1: a handle found here is of a runtime that accepts tasks, or of a `run` that is draining.
//! * GLOBAL-2: the lock is held while the own runtime starts, so that it starts once. Nothing of the user's runs under it.

use std::fmt;
use std::io;
use std::sync::Arc;

use heist_core::context::{self, RuntimeContext};
use heist_core::error::during;

use crate::runtime::{Builder, Handle, Runtime};
use crate::shim::{self, MutexGuard, PoisonError};

/// Who has the role.
#[derive(Debug)]
pub(crate) enum State {
    Free,
    Run(Handle),
    Own(Runtime),
}

impl State {
    fn handle(&self) -> Option<&Handle> {
        match self {
            Self::Free => None,
            Self::Run(handle) => Some(handle),
            Self::Own(runtime) => Some(runtime.handle()),
        }
    }
}

/// The process-wide runtime, started now if there is none. `None` in a model.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) fn handle() -> Option<io::Result<Handle>> {
    with_state(|mut state| {
        if let Some(handle) = state.handle() {
            return Ok(handle.clone());
        }
        let built = Builder::new().build();
        let runtime =
            built.map_err(|error| during("cannot start the process-wide runtime", error))?;
        let handle = runtime.handle().clone();
        *state = State::Own(runtime);
        Ok(handle)
    })
}

/// Starts the process-wide runtime as the builder says.
///
/// # Errors
///
/// If there is one already, or it cannot be started.
pub(crate) fn build(builder: Builder) -> Result<(), BuildGlobalError> {
    // What is dropped under the lock is not the last: hooks may own what uses this runtime when it is dropped.
    let built = with_state(|mut state| {
        if state.handle().is_some() {
            return Err(BuildGlobalError(Reason::Started));
        }
        let runtime = builder
            .clone()
            .build()
            .map_err(|error| BuildGlobalError(Reason::Io(error)))?;
        *state = State::Own(runtime);
        Ok(())
    });
    drop(builder);
    built.unwrap_or(Err(BuildGlobalError(Reason::Model)))
}

/// Gives the role to the runtime of a `run`, unless it is taken. It is free again when the guard is dropped.
pub(crate) fn offer(handle: &Handle) -> Role {
    let taken = with_state(|mut state| {
        let free = state.handle().is_none();
        if free {
            *state = State::Run(handle.clone());
        }
        free
    });
    Role {
        taken: taken.unwrap_or(false),
    }
}

/// Held by the `run` whose runtime is the process-wide one.
#[derive(Debug)]
pub(crate) struct Role {
    taken: bool,
}

impl Drop for Role {
    fn drop(&mut self) {
        if self.taken {
            let left = with_state(|mut state| std::mem::replace(&mut *state, State::Free));
            drop(left);
        }
    }
}

fn with_state<R>(f: impl FnOnce(MutexGuard<'_, State>) -> R) -> Option<R> {
    // A panic under the lock leaves the state as it was: there is nothing half-made.
    shim::with_global(|state| f(state.lock().unwrap_or_else(PoisonError::into_inner)))
}

ctor::declarative::ctor! {
    /// Makes leaf futures that are used outside of any runtime find this one.
    ///
    /// Runs when the program is loaded: a socket may be the first that a program asks heist for, and the crate that it comes
    /// from knows nothing of this one. It stores two function pointers and calls nothing.
    #[ctor(unsafe)]
    fn install() {
        context::set_global_provider(provide);
        context::set_block_on(crate::task::wait_on_thread);
    }
}

fn provide() -> Option<io::Result<Arc<dyn RuntimeContext>>> {
    Some(handle()?.map(|handle| handle.context()))
}

/// Why [`Builder::build_global`] did not start the process-wide runtime.
///
/// # Counterpart
///
/// `rayon::ThreadPoolBuildError`.
#[derive(Debug)]
pub struct BuildGlobalError(Reason);

#[derive(Debug)]
enum Reason {
    Started,
    Model,
    Io(io::Error),
}

impl BuildGlobalError {
    /// Whether the process-wide runtime was there already.
    #[must_use]
    pub fn is_already_started(&self) -> bool {
        matches!(self.0, Reason::Started)
    }
}

impl fmt::Display for BuildGlobalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Reason::Started => "the process-wide runtime is running; call build_global before the first spawn, and outside of run",
            Reason::Model => "there is no process-wide runtime in a model; build one and enter it",
            Reason::Io(_) => "the process-wide runtime cannot be started",
        })
    }
}

impl std::error::Error for BuildGlobalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Reason::Io(error) => Some(error),
            Reason::Started | Reason::Model => None,
        }
    }
}
