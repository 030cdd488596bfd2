//! What a scheduler asks of I/O and timers.

use std::any::Any;
use std::fmt;
use std::time::Instant;

/// How long one turn of a [`Driver`] may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Take what is ready, do not sleep.
    Never,
    /// Sleep until something happens.
    Forever,
    /// Sleep until something happens, for at most until this instant.
    Until(Instant),
}

/// The reactor and the timers of one runtime, as its scheduler sees them.
///
/// A driver has *shards*, as many as the scheduler has worker slots; a timer lives in the shard of the
/// thread that armed it. The scheduler lets at most one thread at a time be inside [`turn`](Driver::turn).
/// Wakers are woken on the calling thread, with no lock of the driver held.
pub trait Driver: Any + fmt::Debug + Send + Sync {
    /// Waits as `wait` says, but never past the next timer of any shard, then wakes what is ready and
    /// what is due, in every shard. Returns the number of wakers woken.
    ///
    /// A call of [`unpark`](Driver::unpark) that was not yet consumed makes it return without sleeping.
    fn turn(&self, shard: usize, wait: Wait) -> usize;

    /// Makes a `turn` that sleeps, or else the next one, return. From any thread; costs one write at most.
    fn unpark(&self);

    /// When the earliest timer of any shard is due.
    fn next_deadline(&self) -> Option<Instant>;

    /// Wakes what is due in one shard, without looking at I/O. From any thread, also while another one is in
    /// `turn`. Returns the number of wakers woken.
    fn advance(&self, shard: usize) -> usize;

    /// The runtime goes away: wakes everything that waits, and makes later waits fail with
    /// [`RuntimeGone`](crate::error::RuntimeGone).
    fn shut_down(&self);

    /// For the crate that implements it, to find its own type again.
    fn as_any(&self) -> &dyn Any;
}
