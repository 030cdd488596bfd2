//! Why a child failed, or a group.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use heist_core::error::panic_message;

use crate::shim::Lock;
use crate::task::{TaskError, TaskId, TaskRef};

/// Any error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a child of a group has not given what it should.
///
/// A clone is the same error.
#[derive(Clone)]
pub struct ChildError(Arc<Inner>);

struct Inner {
    /// `None`: it is the group's body.
    task: Option<(TaskId, String)>,
    cause: Cause,
}

enum Cause {
    Failed(BoxError),
    Panicked(String, Lock<Option<Box<dyn Any + Send>>>),
    Ended(TaskError),
}

impl ChildError {
    fn new(task: Option<&TaskRef>, cause: Cause) -> Self {
        let task = task.map(|task| (task.id(), task.name()));
        Self(Arc::new(Inner { task, cause }))
    }

    pub(super) fn failed(task: Option<&TaskRef>, error: BoxError) -> Self {
        Self::new(task, Cause::Failed(error))
    }

    pub(super) fn panicked(task: Option<&TaskRef>, payload: Box<dyn Any + Send>) -> Self {
        let message = panic_message(&*payload).to_owned();
        Self::new(task, Cause::Panicked(message, Lock::new(Some(payload))))
    }

    /// Whether it is, or passes on, that a group takes no more children.
    pub(super) fn is_closed(&self) -> bool {
        match &self.0.cause {
            Cause::Failed(error) => is_closed(error),
            _ => false,
        }
    }

    pub(super) fn of_body(error: BoxError) -> Self {
        Self::new(None, Cause::Failed(error))
    }

    pub(super) fn ended(name: String, error: TaskError) -> Self {
        let task = Some((error.id(), name));
        let cause = Cause::Ended(error);
        Self(Arc::new(Inner { task, cause }))
    }

    /// Whether it is somebody's who gives one of these as an error of its own.
    pub(super) fn passes_on_one_of(&self, others: &[Self]) -> bool {
        let passed_on = self.downcast_ref::<Self>();
        passed_on.is_some_and(|error| others.iter().any(|other| Arc::ptr_eq(&error.0, &other.0)))
    }

    /// The child's task. `None`: it is the body that failed.
    pub fn id(&self) -> Option<TaskId> {
        self.0.task.as_ref().map(|(id, _)| *id)
    }

    /// The child's name. `None`: it is the body that failed.
    pub fn name(&self) -> Option<&str> {
        self.0.task.as_ref().map(|(_, name)| name.as_str())
    }

    /// Whether the child was cancelled, or has passed on that another task was. That is no failure of its group.
    pub fn is_cancelled(&self) -> bool {
        match &self.0.cause {
            Cause::Ended(error) => error.is_cancelled(),
            Cause::Failed(error) => is_cancelled(error),
            Cause::Panicked(..) => false,
        }
    }

    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        match &self.0.cause {
            Cause::Panicked(..) => true,
            Cause::Ended(error) => error.is_panic(),
            Cause::Failed(_) => false,
        }
    }

    /// What it panicked with; the first of all clones gets it.
    pub fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        match &self.0.cause {
            Cause::Panicked(_, payload) => payload.lock().take(),
            Cause::Ended(error) => error.clone().try_into_panic().ok(),
            Cause::Failed(_) => None,
        }
    }

    /// The error that it failed with, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match &self.0.cause {
            Cause::Failed(error) => error.downcast_ref(),
            _ => None,
        }
    }
}

/// Whether an error says that a task was cancelled.
fn is_cancelled(error: &BoxError) -> bool {
    match error.downcast_ref::<ChildError>() {
        Some(error) => error.is_cancelled(),
        None => (error.downcast_ref()).is_some_and(TaskError::is_cancelled),
    }
}

/// Whether an error says that a group takes no more children.
fn is_closed(error: &BoxError) -> bool {
    match error.downcast_ref::<ChildError>() {
        Some(error) => error.is_closed(),
        None => error.downcast_ref() == Some(&SpawnError::Closed),
    }
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name().unwrap_or("the body of the group");
        match &self.0.cause {
            Cause::Failed(error) => write!(f, "{name}: {error}"),
            Cause::Panicked(message, _) => write!(f, "{name} panicked: {message}"),
            Cause::Ended(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildError({self})")
    }
}

impl Error for ChildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.cause {
            Cause::Failed(error) => error.source(),
            Cause::Panicked(..) => None,
            Cause::Ended(error) => error.source(),
        }
    }
}

/// What went wrong in a group: all of it.
///
/// # Counterpart
///
/// `ExceptionGroup`.
#[doc(alias = "ExceptionGroup")]
pub struct GroupError(Vec<ChildError>);

impl GroupError {
    pub(super) fn new(errors: Vec<ChildError>) -> Self {
        Self(errors)
    }

    /// The errors, in the order in which they came.
    pub fn errors(&self) -> &[ChildError] {
        &self.0
    }

    /// The same, to keep.
    pub fn into_errors(self) -> Vec<ChildError> {
        self.0
    }

    /// Whether nothing failed, and the group was cancelled by [`cancel`](crate::task::TaskGroup::cancel).
    pub fn is_cancelled(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("the group was cancelled"),
            [one] => one.fmt(f),
            many => {
                write!(f, "{} errors in a group of tasks: ", many.len())?;
                for (at, error) in many.iter().enumerate() {
                    write!(f, "{}{error}", if at == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupError").field(&self.0).finish()
    }
}

impl Error for GroupError {
    /// The first one.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.first().map(|error| error as _)
    }
}

/// A group did not take a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// It is over, or is being cancelled.
    Closed,
    /// It has as many children as it may.
    Full,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => {
                "the group is over, or is being cancelled; spawn while its body or a child runs"
            }
            Self::Full => "the group has as many children as it may; use spawn_wait",
        })
    }
}

impl Error for SpawnError {}

/// A child was not ready.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The group did not take it.
    Spawn(SpawnError),
    /// It failed before.
    Failed(ChildError),
    /// It ended before, and did not fail.
    NotReady,
}

impl From<SpawnError> for StartError {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(error) => error.fmt(f),
            Self::Failed(error) => write!(f, "before it was ready, {error}"),
            Self::NotReady => f.write_str("the child ended without calling Ready::set"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Spawn(_) | Self::NotReady => None,
            Self::Failed(error) => Some(error),
        }
    }
}
