//! Values that somebody else provides.
//!
//! [`promise`] makes the two sides of one value: the [`Promise`] completes, the [`Deferred`] waits. Neither needs a
//! runtime; a [`Deferred`] has the state, the callbacks and the result of a task, without a body.
//!
//! ```
//! # fn main() -> Result<(), heist::TaskError> {
//! let (promise, deferred) = heist::promise();
//! std::thread::spawn(move || promise.set_result(42));
//! assert_eq!(heist::block_on(deferred)?, 42);
//! # Ok(())
//! # }
//! ```
//!
//! A promise is kept once, which the compiler sees to:
//!
//! ```compile_fail,E0382
//! let (promise, _deferred) = heist::promise();
//! promise.set_result(1);
//! promise.set_result(2);
//! ```

pub use heist_core::future::{Cancellation, Deferred, Promise, promise};
pub use heist_core::task::Shared;
