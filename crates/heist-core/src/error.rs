//! Why a task has no result, and what the exception handler is told.

use crate::context::{self, RuntimeContext};
use crate::sync::{Arc, Weak, caught};
use crate::task::TaskId;
use std::any::Any;
use std::borrow::Cow;
use std::io::{self, Write};
use std::panic::Location;
use std::{error, fmt};

/// Why a task or a deferred value has no result.
///
/// # Counterpart
///
/// `asyncio.CancelledError` and the exception that `Task.exception()` gives; tokio's `JoinError`.
#[derive(Clone)]
#[doc(alias = "JoinError")]
#[doc(alias = "CancelledError")]
pub struct TaskError(Arc<Inner>);

struct Inner {
    id: TaskId,
    kind: Kind,
}

enum Kind {
    Cancelled(Option<Cow<'static, str>>),
    Panic(Panic),
    SelfAwait,
    RuntimeGone,
    Taken,
}

impl TaskError {
    fn new(id: TaskId, kind: Kind) -> Self {
        Self(Arc::new(Inner { id, kind }))
    }

    pub(crate) fn cancelled(id: TaskId, reason: Option<Cow<'static, str>>) -> Self {
        Self::new(id, Kind::Cancelled(reason))
    }

    pub(crate) fn panic(id: TaskId, panic: Panic) -> Self {
        Self::new(id, Kind::Panic(panic))
    }

    pub(crate) fn self_await(id: TaskId) -> Self {
        Self::new(id, Kind::SelfAwait)
    }

    pub(crate) fn runtime_gone(id: TaskId) -> Self {
        Self::new(id, Kind::RuntimeGone)
    }

    pub(crate) fn taken(id: TaskId) -> Self {
        Self::new(id, Kind::Taken)
    }

    /// The task that failed.
    pub fn id(&self) -> TaskId {
        self.0.id
    }

    /// Whether the task was cancelled or aborted, its runtime is gone, or its promise was dropped.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.kind, Kind::Cancelled(_) | Kind::RuntimeGone)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0.kind, Kind::Panic(_))
    }

    /// Whether the task awaited itself, which would never end.
    pub fn is_self_await(&self) -> bool {
        matches!(self.0.kind, Kind::SelfAwait)
    }

    /// Whether the task never ran, because its runtime was shut down before.
    #[doc(alias = "Event loop is closed")]
    pub fn is_runtime_gone(&self) -> bool {
        matches!(self.0.kind, Kind::RuntimeGone)
    }

    /// What was given to the last `cancel_with`.
    pub fn reason(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Cancelled(reason) => reason.as_deref(),
            _ => None,
        }
    }

    /// The panic's payload.
    ///
    /// # Errors
    ///
    /// Gives the error back if the task did not panic, or if a clone of this error gave the payload away already.
    #[doc(alias = "into_panic")]
    #[doc(alias = "exception")]
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, TaskError> {
        let payload = match &self.0.kind {
            Kind::Panic(panic) => panic.lock().payload.take(),
            _ => None,
        };
        payload.ok_or(self)
    }

    /// Somebody looked: there is nothing left to report.
    pub(crate) fn retrieved(&self) {
        if let Kind::Panic(panic) = &self.0.kind {
            panic.lock().retrieved = true;
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.id;
        match &self.0.kind {
            Kind::Cancelled(None) => write!(f, "task {id} was cancelled"),
            Kind::Cancelled(Some(reason)) => write!(f, "task {id} was cancelled: {reason}"),
            Kind::Panic(panic) => write!(f, "task {id} panicked: {}", panic.message),
            Kind::SelfAwait => write!(f, "task {id} awaits itself, which would never end"),
            Kind::RuntimeGone => write!(f, "task {id} never ran: {RuntimeGone}"),
            Kind::Taken => write!(
                f,
                "the result of task {id} has already been taken by an await"
            ),
        }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskError({self})")
    }
}

impl error::Error for TaskError {}

impl From<TaskError> for io::Error {
    fn from(error: TaskError) -> Self {
        io::Error::other(error)
    }
}

/// A caught panic, which reports itself if nobody ever looks at it.
pub(crate) struct Panic {
    // A plain std mutex: it guards nothing that a model would look at, and is taken on a cold path.
    left: std::sync::Mutex<Left>,
    message: String,
    task: (TaskId, String),
    location: &'static Location<'static>,
    runtime: Option<Weak<dyn RuntimeContext>>,
}

struct Left {
    payload: Option<Box<dyn Any + Send>>,
    /// Somebody looked.
    retrieved: bool,
}

impl Panic {
    fn lock(&self) -> std::sync::MutexGuard<'_, Left> {
        self.left
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn new(
        payload: Box<dyn Any + Send>,
        task: (TaskId, String),
        location: &'static Location<'static>,
        runtime: Option<Weak<dyn RuntimeContext>>,
    ) -> Self {
        let message = panic_message(&*payload).to_owned();
        let left = Left {
            payload: Some(payload),
            retrieved: false,
        };
        Self {
            left: std::sync::Mutex::new(left),
            message,
            task,
            location,
            runtime,
        }
    }
}

impl Drop for Panic {
    fn drop(&mut self) {
        let left = self
            .left
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let payload = left.payload.take();
        if !left.retrieved {
            let exception = ExceptionContext {
                kind: ExceptionKind::NeverRetrieved,
                message: &self.message,
                task: Some((self.task.0, &self.task.1)),
                location: Some(self.location),
                payload: payload.as_deref(),
            };
            exception.report(self.runtime.as_ref().and_then(Weak::upgrade));
        }
        drop_quietly(payload);
    }
}

/// The text of a panic's payload.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else if let Some(error) = payload.downcast_ref::<TaskError>() {
        // With which a `block_on` unwinds.
        match error.reason() {
            Some(reason) => reason,
            None if error.is_runtime_gone() => "it waited on a runtime that is gone",
            None => "it waited, and was cancelled",
        }
    } else {
        "a panic without a message"
    }
}

/// Drops something whose drop may panic, and the payload of that panic, and so on for at most a few rounds.
pub fn drop_quietly<T>(value: T) {
    let mut caught = caught(|| drop(value)).err();
    for _ in 0..8 {
        let Some(payload) = caught else { return };
        caught = self::caught(|| drop(payload)).err();
    }
    // A payload that panics with another such payload for ever: a leak is the way out.
    std::mem::forget(caught);
}

/// Runs code of the user's that has no task. A panic of it goes no further: `runtime` is told, or else the current one, or else
/// standard error.
pub fn guarded<R>(
    kind: ExceptionKind,
    runtime: Option<&dyn RuntimeContext>,
    f: impl FnOnce() -> R,
) -> Option<R> {
    let payload = match caught(f) {
        Ok(result) => return Some(result),
        Err(payload) => payload,
    };
    let exception = ExceptionContext::new(kind, panic_message(&*payload)).with_payload(&*payload);
    match runtime {
        Some(runtime) => runtime.report(&exception),
        None => exception.report(None),
    }
    drop_quietly(payload);
    None
}

/// What went wrong where nobody could be told otherwise.
///
/// # Counterpart
///
/// The `context` of asyncio's `loop.call_exception_handler`.
#[derive(Clone, Copy)]
#[doc(alias = "call_exception_handler")]
pub struct ExceptionContext<'a> {
    kind: ExceptionKind,
    message: &'a str,
    task: Option<(TaskId, &'a str)>,
    location: Option<&'static Location<'static>>,
    payload: Option<&'a (dyn Any + Send)>,
}

/// Where an exception comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExceptionKind {
    /// A task panicked, and its result was dropped without anybody looking at it.
    NeverRetrieved,
    /// A done-callback, or one of `call_soon`, panicked.
    Callback,
    /// Something panicked while it was dropped.
    Drop,
    /// A waker panicked.
    Waker,
    /// A hook that was given to the builder panicked.
    Hook,
    /// A clean-up that awaits panicked, or took too long.
    CleanUp,
    /// The runtime could not do something that it would have liked to do, such as start another thread.
    Runtime,
}

impl<'a> ExceptionContext<'a> {
    /// A report without a task.
    pub fn new(kind: ExceptionKind, message: &'a str) -> Self {
        Self {
            kind,
            message,
            task: None,
            location: None,
            payload: None,
        }
    }

    /// The same with the payload of a panic.
    #[must_use]
    pub fn with_payload(mut self, payload: &'a (dyn Any + Send)) -> Self {
        self.payload = Some(payload);
        self
    }

    /// The same with the task that it is about.
    #[must_use]
    pub fn with_task(
        mut self,
        id: TaskId,
        name: &'a str,
        location: &'static Location<'static>,
    ) -> Self {
        self.task = Some((id, name));
        self.location = Some(location);
        self
    }

    /// Where it comes from.
    pub fn kind(&self) -> ExceptionKind {
        self.kind
    }

    /// The message of the panic, or what happened.
    pub fn message(&self) -> &'a str {
        self.message
    }

    /// Id and name of the task.
    pub fn task(&self) -> Option<(TaskId, &'a str)> {
        self.task
    }

    /// Where the task was spawned.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.location
    }

    /// The payload of the panic.
    pub fn payload(&self) -> Option<&'a (dyn Any + Send)> {
        self.payload
    }

    /// Tells `runtime`'s handler, or else the current runtime's, or else standard error.
    pub(crate) fn report(&self, runtime: Option<Arc<dyn RuntimeContext>>) {
        match runtime.or_else(context::try_current) {
            Some(runtime) => runtime.report(self),
            None => self.print(),
        }
    }

    /// Writes it to standard error, in one piece. Does nothing where that is closed: there is nobody to tell.
    pub fn print(&self) {
        let text = format!("{self}\n");
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// In asyncio's words.
impl fmt::Display for ExceptionContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ExceptionKind::NeverRetrieved => "Task exception was never retrieved",
            ExceptionKind::Callback => "Exception in callback",
            ExceptionKind::Drop => "Exception in a destructor",
            ExceptionKind::Waker => "Exception in a waker",
            ExceptionKind::Hook => "Exception in a hook of the runtime",
            ExceptionKind::CleanUp => "Exception in a clean-up",
            ExceptionKind::Runtime => "The runtime reports a problem",
        })?;
        if let Some((_, name)) = self.task {
            write!(f, "\n  task: {name:?}")?;
        }
        if let Some(location) = self.location {
            write!(f, " spawned at {location}")?;
        }
        let label = self.payload.map_or("cause", |_| "panic");
        write!(f, "\n  {label}: {}", self.message)
    }
}

impl fmt::Debug for ExceptionContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExceptionContext")
            .field("kind", &self.kind)
            .field("task", &self.task)
            .field("location", &self.location)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// What was asked for needs a runtime, and there is none, or it has been shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeGone;

/// `error`, and while what it came; of its kind, and with it as the source.
pub fn during(what: impl Into<String>, error: io::Error) -> io::Error {
    let what = what.into();
    io::Error::new(error.kind(), During { what, error })
}

#[derive(Debug)]
struct During {
    what: String,
    error: io::Error,
}

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.error)
    }
}

impl error::Error for During {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

impl fmt::Display for RuntimeGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime is gone; do this before it is shut down, or on another one")
    }
}

impl error::Error for RuntimeGone {}

impl From<RuntimeGone> for io::Error {
    fn from(error: RuntimeGone) -> Self {
        io::Error::other(error)
    }
}
