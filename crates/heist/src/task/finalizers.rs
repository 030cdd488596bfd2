//! Clean-up that awaits, and that a task is not over before.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use heist_core::cancel::catch_cancel_first;
use heist_core::context;
use heist_core::error::{ExceptionContext, ExceptionKind, drop_quietly, guarded};

use super::{Builder, Cancelled, TaskRef, catch_cancel, try_current};
use crate::shim::{Lock, caught, mutated};
use crate::time::{timeout, without_deadline};

/// Clean-up of a block that is cancelled, fails or is done: futures, the last one first.
///
/// [`run`](Self::run) runs a body, which [defers](Self::defer_async) its clean-up as it goes. When the body is over, or the task is asked to
/// cancel, the body is dropped, and then the clean-up runs; only then `run` returns, or passes the request on. Requests that come
/// meanwhile wait, and a [deadline](crate::time::with_deadline) that is over does not count. An [`abort`](super::Task::abort) waits for nothing: what is left is dropped.
///
/// # Examples
///
/// ```
/// use heist::task::Finalizers;
/// use heist::time::{Duration, sleep};
///
/// # fn main() -> Result<(), heist::TaskError> {
/// heist::run(async {
///     let work = Finalizers::run(Duration::from_secs(5), async |finalizers| {
///         finalizers.defer_async(async {
///             sleep(Duration::from_millis(1)).await; // says goodbye to a server, say
///         });
///         "done"
///     });
///     assert_eq!(work.await, "done");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Counterpart
///
/// `contextlib.AsyncExitStack`, and `finally` with an `await` in it; under `asyncio.timeout` for the limit. Tokio has none.
#[doc(alias = "AsyncExitStack")]
#[doc(alias = "finally")]
pub struct Finalizers {
    list: Arc<List>,
}

type Finalizer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What has been deferred and is not over, the next one last. `None`: the clean-up is over, and nothing can be added.
struct List(Lock<Option<Vec<Finalizer>>>);

impl List {
    fn new(list: Vec<Finalizer>) -> Arc<Self> {
        Arc::new(Self(Lock::new(Some(list))))
    }

    /// Polls one after the other. Whoever waits is in the list, so that nobody is lost if this is dropped.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut list = self.0.lock();
            let Some(mut finalizer) = list.as_mut().and_then(Vec::pop) else {
                // Whoever comes later is on its own.
                *list = None;
                return Poll::Ready(());
            };
            drop(list);
            let polled = guarded(ExceptionKind::CleanUp, None, || finalizer.as_mut().poll(cx));
            if polled == Some(Poll::Pending) {
                if let Some(list) = self.0.lock().as_mut() {
                    list.push(finalizer);
                }
                return Poll::Pending;
            }
            drop_quietly(finalizer);
        }
    }

    /// Runs all of them, whatever request comes meanwhile; that is returned.
    async fn run(&self, limit: Duration) -> Option<Cancelled> {
        let all = poll_fn(|cx| self.poll(cx));
        let all = async {
            match limit {
                Duration::MAX => all.await,
                limit => drop(timeout(limit, all).await),
            }
        };
        let mut all = pin!(without_deadline(all));
        let mut request = None;
        while let Err(cancelled) = catch_cancel_first(all.as_mut()).await {
            request = request.or(Some(cancelled));
        }
        request
    }

    /// Nothing can be added any more. What is left.
    fn close(&self) -> Vec<Finalizer> {
        self.0.lock().take().unwrap_or_default()
    }
}

/// What is left of a run. Dropped with something in the list, that goes on elsewhere.
struct Rest {
    list: Arc<List>,
    limit: Duration,
    /// In which it runs.
    task: Option<TaskRef>,
    /// It is a task of its own.
    elsewhere: bool,
}

impl Rest {
    /// The clean-up has had its time.
    fn end(&self) {
        self.give_up(&format!("was not over after {:?}", self.limit));
    }

    /// Drops what is left, and tells why.
    fn give_up(&self, why: &str) {
        let left = self.list.close();
        if left.is_empty() {
            return;
        }
        let message = format!(
            "a clean-up {why}; finalizers that were dropped: {}",
            left.len()
        );
        let name = self.task.as_ref().map(TaskRef::name);
        let mut exception = ExceptionContext::new(ExceptionKind::CleanUp, &message);
        if let (Some(task), Some(name)) = (&self.task, &name) {
            exception = exception.with_task(task.id(), name, task.spawn_location());
        }
        match context::try_current() {
            Some(runtime) => runtime.report(&exception),
            None => exception.print(),
        }
        left.into_iter().for_each(drop_quietly);
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if self.elsewhere {
            return self.give_up("was cut short, by an abort or by the end of the runtime");
        }
        let left = self.list.close();
        let aborted = self.task.as_ref().is_some_and(TaskRef::is_aborted);
        if left.is_empty() || (aborted && !mutated("abort-cleans-up")) {
            return left.into_iter().for_each(drop_quietly);
        }
        let name = match &self.task {
            Some(task) => format!("clean-up of {}", task.name()),
            None => "clean-up".to_owned(),
        };
        let rest = Self {
            list: List::new(left),
            limit: self.limit,
            task: self.task.take(),
            elsewhere: true,
        };
        let clean_up = async move {
            rest.list.run(rest.limit).await;
            rest.end();
        };
        Builder::new().name(name).spawn(clean_up).detach();
    }
}

/// Runs a body until it is over or asked to cancel. It is gone then.
async fn poll_body<F: Future>(body: F) -> Result<std::thread::Result<F::Output>, Cancelled> {
    let mut body = pin!(Some(body));
    let polled = poll_fn(|cx| {
        let body = body.as_mut().as_pin_mut().expect("it is dropped later");
        match caught(|| body.poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    });
    let result = catch_cancel(polled).await;
    match caught(|| body.set(None)) {
        Ok(()) => result,
        // A request is passed on all the same: by the panic, which ends the task.
        Err(payload) => Ok(Err(payload)),
    }
}

impl Finalizers {
    /// Runs `body`, and then what it has deferred, which may take `limit`; [`Duration::MAX`] is none.
    ///
    /// What has not ended by then is dropped, and the exception handler is told, as it is of each panic in a clean-up.
    ///
    /// # Panics
    ///
    /// If `body` does, after its clean-up.
    ///
    /// # Cancel safety
    ///
    /// A request to cancel is passed on after the clean-up, and `run` does not return then. If its future is dropped, the clean-up
    /// goes on as a task of its own; not so if the task is aborted. Where a runtime that ends refuses or aborts that one, the exception
    /// handler is told.
    pub async fn run<T>(limit: Duration, body: impl AsyncFnOnce(Self) -> T) -> T {
        let rest = Rest {
            list: List::new(Vec::new()),
            limit,
            task: try_current(),
            elsewhere: false,
        };
        let list = Arc::clone(&rest.list);
        let result = poll_body(async move { body(Self { list }).await }).await;
        let later = rest.list.run(limit).await;
        rest.end();
        match (result, later) {
            (Ok(Err(payload)), _) => std::panic::resume_unwind(payload),
            (Err(request), _) | (Ok(Ok(_)), Some(request)) => request.resume().await,
            (Ok(Ok(value)), None) => value,
        }
    }

    /// Has `finalizer` run when the body is over, before those that were deferred earlier.
    ///
    /// If the clean-up is over already, as for somebody who has taken this out of the body, it runs at once, as a task of its own.
    #[doc(alias = "push_async_callback")]
    pub fn defer_async(&self, finalizer: impl Future<Output = ()> + Send + 'static) {
        let finalizer: Finalizer = Box::pin(finalizer);
        let mut list = self.list.0.lock();
        match list.as_mut() {
            Some(list) => list.push(finalizer),
            None => {
                drop(list);
                Builder::new().name("clean-up").spawn(finalizer).detach();
            }
        }
    }
}

impl fmt::Debug for Finalizers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deferred = self.list.0.lock().as_ref().map_or(0, Vec::len);
        f.debug_struct("Finalizers")
            .field("deferred", &deferred)
            .finish()
    }
}
