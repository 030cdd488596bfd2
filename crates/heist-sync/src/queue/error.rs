//! Why nothing was put, or got.

use std::error::Error;
use std::fmt;

/// The queue is closed. Has the item that could not be put.
///
/// # Counterpart
///
/// `asyncio.QueueShutDown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "QueueShutDown")]
pub struct Closed<T = ()>(pub T);

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue is closed")
    }
}

impl<T: fmt::Debug> Error for Closed<T> {}

/// Nothing could be put. Has the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryPutError<T> {
    /// There is no room, or somebody waits for it. `asyncio.QueueFull`.
    Full(T),
    /// The queue is closed. `asyncio.QueueShutDown`.
    Closed(T),
}

impl<T> fmt::Display for TryPutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full; use put to wait for room",
            Self::Closed(_) => "the queue is closed",
        })
    }
}

impl<T: fmt::Debug> Error for TryPutError<T> {}

/// Nothing could be got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryGetError {
    /// There is nothing, or somebody waits for it. `asyncio.QueueEmpty`.
    Empty,
    /// The queue is closed, and nothing is left. `asyncio.QueueShutDown`.
    Closed,
}

impl fmt::Display for TryGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty; use get to wait for an item",
            Self::Closed => "the queue is closed",
        })
    }
}

impl Error for TryGetError {}

/// More items were said to be done than were put.
///
/// # Counterpart
///
/// The `ValueError` of `asyncio.Queue.task_done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskDoneError(pub(super) ());

impl fmt::Display for TaskDoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all items are done; call task_done once for each that was got")
    }
}

impl Error for TaskDoneError {}
