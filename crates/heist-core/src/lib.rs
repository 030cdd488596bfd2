//! Task and future state machines, done-callbacks and cancellation of the heist runtime.
//!
//! This crate has no threads, no clocks and no I/O: it says what a task is, and by small traits what it asks of a scheduler
//! ([`schedule::Schedule`]) and what a scheduler asks of the rest ([`driver::Driver`], [`platform::Platform`]). Depend on `heist`, which
//! composes it with a scheduler; what is public here is so for its sibling crates.

#![deny(unsafe_code)]

pub mod budget;
#[allow(unsafe_code, reason = "callbacks read the output of a task cell")]
mod callback;
pub mod cancel;
pub mod context;
pub mod driver;
pub mod error;
#[allow(unsafe_code, reason = "a promise stores its output in a task cell")]
pub mod future;
pub mod platform;
#[allow(unsafe_code, reason = "its slots hold counted pointers to task cells")]
pub mod registry;
#[allow(
    unsafe_code,
    reason = "the worker frame lends its references through a thread-local"
)]
pub mod schedule;
#[allow(unsafe_code, reason = "erases the lifetime of what it waits for")]
pub mod scope;
#[allow(unsafe_code, reason = "reads the output of a task cell")]
mod shared;
#[allow(unsafe_code, reason = "the shim wraps cells and allocation")]
#[doc(hidden)]
pub mod sync;
#[allow(unsafe_code, reason = "the task cell")]
pub mod task;
#[allow(
    unsafe_code,
    reason = "whoever sets a variable lends it through a thread-local"
)]
pub mod variables;
