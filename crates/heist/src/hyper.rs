//! What hyper asks of a runtime: an executor and a timer.
//!
//! The streams of [`net`](crate::net) implement hyper's `Read` and `Write` themselves.

use std::future::Future;

use heist_core::task::Meta;

use crate::runtime::Handle;

pub use heist_io::hyper::HeistTimer;

/// Spawns hyper's tasks on a heist runtime.
///
/// # Examples
///
/// ```
/// use heist::hyper::HeistExecutor;
/// use hyper::rt::Executor;
///
/// heist::run(async { HeistExecutor::new().execute(async {}) });
/// ```
///
/// # Counterpart
///
/// `hyper_util::rt::TokioExecutor`.
#[derive(Clone, Debug, Default)]
pub struct HeistExecutor {
    handle: Option<Handle>,
}

impl HeistExecutor {
    /// Spawns on the runtime that is current at each spawn.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns on this runtime.
    #[must_use]
    pub fn on(handle: &Handle) -> Self {
        Self {
            handle: Some(handle.clone()),
        }
    }
}

impl<F> hyper::rt::Executor<F> for HeistExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[track_caller]
    fn execute(&self, future: F) {
        let meta = Meta::caller();
        match &self.handle {
            Some(handle) => handle.spawn_with(future, meta),
            None => Handle::current_or_global().spawn_with(future, meta),
        }
        .detach();
    }
}
