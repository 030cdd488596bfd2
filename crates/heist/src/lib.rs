//! A work-stealing async runtime with the programming model of asyncio: an event loop, tasks that can be looked at and
//! called back, futures that somebody else completes.
//!
//! ```
//! use heist::time::{Duration, sleep};
//!
//! #[heist::main]
//! async fn main() -> Result<(), heist::TaskError> {
//!     let task = heist::spawn(async {
//!         sleep(Duration::from_millis(20)).await;
//!         "Done after 20 ms"
//!     });
//!     task.add_done_callback(|finished| println!("Callback: {:?}", finished.result()));
//!     println!("{task:?}"); // <Task pending name="Task-2" at src/main.rs:5:16>
//!     println!("{}", task.await?);
//!     Ok(())
//! }
//! ```
//!
//! # Where to start
//!
//! | you want to | look at |
//! |---|---|
//! | run a program | [`main`], [`run`] |
//! | do things at the same time | [`spawn`], [`Task`] |
//! | wait from code that is not async | [`block_on`], [`wait_blocking`](Task::wait_blocking) |
//! | call code that blocks | [`spawn_blocking`] |
//! | hand a value over later | [`promise`] |
//! | wait, or not for ever | [`time::sleep`], [`time::timeout`] |
//! | share something among tasks, or wait for each other | [`sync`] |
//! | talk to the network | [`net`] |
//! | end a task, or clean up when yours is | [`Task::cancel`], [`task::catch_cancel`] |
//! | do several things and have all of them over | [`TaskGroup`], and from code that is not async [`Runtime::scope`] |
//! | hand something down to all that is called and spawned | [`context_var!`], [`task_local!`] |
//! | keep a runtime of your own | [`Runtime`], [`LocalRuntime`], [`Handle`] |
//! | see what is going on | [`Handle::all_tasks`], [`Handle::metrics`] |
//! | test, without waiting for time to pass | [`test`](macro@test), [`testing`] |
//!
//! # Which runtime
//!
//! [`spawn`], sleeps and sockets use the runtime that the thread is in: that of the task that is running, or one that was
//! [entered](Handle::enter). Elsewhere they use the *process-wide* one: that of the first [`run`] that is under way, else one that starts on
//! first use, and that [`Builder::build_global`] configures before.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `hyper` | hyper's traits on the streams of [`net`], and the module `hyper` |
//! | `tokio-io` | tokio's `AsyncRead` and `AsyncWrite` on the streams of [`net`] |
//!
//! # Panics in tasks
//!
//! A panic ends its task alone, and comes to whoever awaits it as a [`TaskError`]. A second panic while the first unwinds, and
//! `panic = "abort"`, end the process: that is Rust's rule, and no runtime can change it.

#![deny(unsafe_code)]

pub mod context;
mod entry;
pub mod future;
mod global;
#[cfg(feature = "hyper")]
pub mod hyper;
pub mod io;
pub mod net;
pub mod runtime;
#[path = "sync.rs"]
mod shim;
#[cfg(unix)]
pub mod signal;
#[path = "locks.rs"]
pub mod sync;
pub mod task;
pub mod testing;
pub mod time;

pub use entry::{block_on, run};
pub use future::{Deferred, Promise, promise};
pub use heist_macros::{main, test};
pub use runtime::{Builder, Handle, LocalRuntime, Runtime};
pub use task::{
    Task, TaskError, TaskGroup, TaskId, TaskRef, TaskState, spawn, spawn_blocking, spawn_local,
};

/// For the code that the attributes emit. Not public API.
#[doc(hidden)]
pub mod __macros {
    pub use crate::entry::macros::{Setup, main, test};
}
