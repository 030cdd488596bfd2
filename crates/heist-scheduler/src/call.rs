//! Callbacks that run soon, in order: `call_soon`. And those that run later, until they do.
//!
//! Callbacks of one runtime wait in one queue, which a small task drains, one after the other. The task exists while
//! there is something in the queue. Callbacks of one thread therefore start in the order in which they were given, and
//! never overlap; those of different threads do not overlap either, which is more than is promised.
//!
//! Timed callbacks are kept beside it, by their times and the order in which they were asked for. Whose timer rings moves all that
//! are due to the queue, its own among them: timers of different workers, and one that is past from the start, ring in no order.
//!
//! A late done-callback is not one of these: it must run even if the runtime is shut down meanwhile. It is a
//! [`OnceJob`], a task whose body runs when it is polled or else when it is dropped. Where the runtime takes no more tasks the job goes
//! back to whoever gave it: it may be bound to this runtime's thread, and knows what to do elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use heist_core::context::{Job, RuntimeContext};
use heist_core::error::{ExceptionKind, guarded};
use heist_core::schedule::Schedule;
use heist_core::task::{self, Meta};

use crate::sync::{Arc, Mutex, Weak, mutation};

/// What a queue of callbacks asks of the scheduler that it belongs to.
pub(crate) trait Caller: Schedule + RuntimeContext {
    fn calls(&self) -> &Calls;
}

/// The queue of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Call>,
    timed: BTreeMap<Kept, Call>,
    /// How many of these there were.
    kept: u64,
    /// Whether there is a task that drains it.
    drained: bool,
}

/// What stands for a timed callback: when it is due, and how many were asked for before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept(Instant, u64);

/// A callback that waits to be run.
///
/// Dropped instead of run, it counts as cancelled.
#[derive(Debug)]
pub struct Call(Arc<Place>);

/// A callback as whoever asked for it sees it.
///
/// Dropping it changes nothing: the callback runs.
///
/// # Counterpart
///
/// `asyncio.Handle`.
#[derive(Clone)]
#[doc(alias = "Handle")]
#[doc(alias = "TimerHandle")]
pub struct CallHandle(Arc<Place>);

#[derive(Debug)]
struct Place(Mutex<State>);

enum State {
    /// And who is to be told when it is cancelled.
    Waiting(Job, Option<Waker>),
    Started,
    Cancelled,
}

impl Place {
    /// Takes the callback, and who wants to know, if it still waits.
    fn take(&self, next: State) -> Option<(Job, Option<Waker>)> {
        let mut state = self.0.lock();
        if !matches!(*state, State::Waiting(..)) {
            return None;
        }
        match std::mem::replace(&mut *state, next) {
            State::Waiting(job, watcher) => Some((job, watcher)),
            State::Started | State::Cancelled => None,
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting(..) => "waiting",
            Self::Started => "started",
            Self::Cancelled => "cancelled",
        })
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<CallHandle {:?}>", *self.0.0.lock())
    }
}

impl Call {
    /// A callback, and the handle by which it can be cancelled.
    #[must_use]
    pub fn new(job: impl FnOnce() + Send + 'static) -> (Self, CallHandle) {
        let place = Arc::new(Place(Mutex::new(State::Waiting(Box::new(job), None))));
        (Self(Arc::clone(&place)), CallHandle(place))
    }

    /// Runs it, unless it was cancelled. A panic is reported to `context`.
    pub fn run(self, context: &dyn RuntimeContext) {
        if let Some((job, _watcher)) = self.0.take(State::Started) {
            guarded(ExceptionKind::Callback, Some(context), job);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        guarded(ExceptionKind::Drop, None, || {
            drop(self.0.take(State::Cancelled))
        });
    }
}

impl CallHandle {
    /// Prevents the callback from running. `false`: it has started, or was cancelled before.
    #[doc(alias = "TimerHandle.cancel")]
    pub fn cancel(&self) -> bool {
        let Some((job, watcher)) = self.0.take(State::Cancelled) else {
            return false;
        };
        // The timer goes first: what the closure captured is the user's, and may panic when it is dropped.
        if let Some(watcher) = watcher {
            watcher.wake();
        }
        drop(job);
        true
    }

    /// Ready when it was cancelled. It remembers one waker, the last.
    pub fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.0.lock();
        let State::Waiting(_, watcher) = &mut *state else {
            return Poll::Ready(());
        };
        let known = watcher.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
        let old = if known {
            None
        } else {
            watcher.replace(cx.waker().clone())
        };
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Whether it was cancelled, or its runtime was shut down before it ran.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0.0.lock(), State::Cancelled)
    }
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Keeps a callback until [`release`](Calls::release) or [`forget`](Calls::forget).
    pub(crate) fn keep(&self, when: Instant, call: Call) -> Kept {
        let mut queue = self.0.lock();
        let key = Kept(when, queue.kept);
        queue.kept += 1;
        queue.timed.insert(key, call);
        key
    }

    /// Drops a callback that was kept, if it still is.
    pub(crate) fn forget(&self, key: Kept) {
        let call = self.0.lock().timed.remove(&key);
        drop(call);
    }

    /// Queues all that are not due later than this one, in the order of their times.
    pub(crate) fn release<S: Caller>(&self, caller: &Arc<S>, key: Kept) {
        let mut queue = self.0.lock();
        let later = queue.timed.split_off(&Kept(key.0, u64::MAX));
        let due = std::mem::replace(&mut queue.timed, later);
        if due.is_empty() || caller.registry().is_closed() {
            drop(queue);
            return drop(due);
        }
        queue.waiting.extend(due.into_values());
        let start = !std::mem::replace(&mut queue.drained, true);
        drop(queue);
        if start {
            Drain::spawn(caller);
        }
    }

    /// Queues a callback. On a runtime that is shut down it is dropped, and its handle says cancelled.
    pub(crate) fn push<S: Caller>(&self, caller: &Arc<S>, call: Call) {
        if caller.registry().is_closed() {
            return drop(call);
        }
        let mut queue = self.0.lock();
        queue.waiting.push_back(call);
        let start = !std::mem::replace(&mut queue.drained, true);
        drop(queue);
        if start {
            Drain::spawn(caller);
        }
    }
}

/// The task that empties the queue.
struct Drain<S: Caller> {
    caller: Weak<S>,
    /// It has found the queue empty, and has said so: what is pushed from then on is another drain's.
    over: bool,
}

impl<S: Caller> Drain<S> {
    fn spawn(caller: &Arc<S>) {
        let drain = Self {
            caller: Arc::downgrade(caller),
            over: false,
        };
        // Refused, it is dropped, and empties the queue.
        task::spawn(caller, drain, Meta::caller().named("call_soon")).detach();
    }
}

impl<S: Caller> Future for Drain<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(caller) = self.caller.upgrade() else {
            return Poll::Ready(());
        };
        for _ in 0..CALLS_PER_POLL {
            let call = {
                let mut queue = caller.calls().0.lock();
                let call = queue.waiting.pop_front();
                queue.drained = call.is_some();
                call
            };
            let Some(call) = call else {
                self.over = true;
                return Poll::Ready(());
            };
            call.run(&*caller);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Caller> Drop for Drain<S> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // It was cancelled: by the shutdown, or by the user as one of all tasks.
        let Some(caller) = self.caller.upgrade() else {
            return;
        };
        let closed = caller.registry().is_closed();
        let mut queue = caller.calls().0.lock();
        let dropped = if closed {
            std::mem::take(&mut queue.waiting)
        } else {
            VecDeque::new()
        };
        queue.drained = !queue.waiting.is_empty();
        let go_on = queue.drained;
        drop(queue);
        drop(dropped);
        if go_on {
            Self::spawn(&caller);
        }
    }
}

/// A task that runs its job once, come what may.
pub(crate) struct OnceJob<S: Schedule + RuntimeContext> {
    job: Option<Job>,
    caller: Arc<S>,
}

impl<S: Schedule + RuntimeContext> OnceJob<S> {
    /// Gives the job back if the runtime takes no more tasks.
    pub(crate) fn spawn(caller: &Arc<S>, job: Job) -> Result<(), Job> {
        let body = Self {
            job: Some(job),
            caller: Arc::clone(caller),
        };
        match task::try_spawn(caller, body, Meta::caller().named("callback")) {
            Ok(task) => {
                task.detach();
                Ok(())
            }
            Err(_) if mutation("refused-job-run-anywhere") => Ok(()),
            Err(mut body) => body.job.take().map_or(Ok(()), Err),
        }
    }

    fn run(&mut self) {
        if let Some(job) = self.job.take() {
            guarded(ExceptionKind::Callback, Some(&*self.caller), job);
        }
    }
}

impl<S: Schedule + RuntimeContext> Future for OnceJob<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.run();
        Poll::Ready(())
    }
}

impl<S: Schedule + RuntimeContext> Drop for OnceJob<S> {
    fn drop(&mut self) {
        self.run();
    }
}

/// After so many the other tasks have their turn.
const CALLS_PER_POLL: usize = 32;
