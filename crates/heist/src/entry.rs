//! The ways in: `run`, `block_on`, and what the attributes call.
//!
//! # Ctrl-C
//!
//! ```text
//!   running ──first──► main is cancelled ──main and its clean-up are over──► drained ──► exit 130
//!   draining ──first──► drained ──► exit 130
//!                             └──second──► exit 130, at once
//!   after `run` ──first──► what it does by default, unless somebody else listens
//! ```
//! The first signal is heard by the driver, also while main blocks its own thread, and is no task: a program sees only its own.
//! The second one ends the process from within the handler, whatever the threads do.

#[cfg_attr(unix, path = "entry/unix.rs")]
#[cfg_attr(not(unix), path = "entry/other.rs")]
mod platform;

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use heist_core::task::Meta;

use crate::runtime::watch::Watch;
use crate::runtime::{Builder, Handle};
use crate::{global, task};

use platform::Signal;

/// Runs a program: starts a runtime, runs `main` on it, and ends it.
///
/// When `main` is over, what is still running is cancelled and gets the grace period for its clean-up. While it lasts its
/// runtime is the process-wide one, unless there is one already.
///
/// The first Ctrl-C cancels `main`, and the process exits with 130 after its clean-up, and that of what is left. The second one
/// exits at once. After `run` Ctrl-C does again what it did before.
///
/// # Panics
///
/// If the runtime cannot be started. If `main` panics, with its panic; if it is cancelled, with the
/// [`TaskError`](crate::TaskError) as payload.
///
/// # Examples
///
/// ```
/// let answer = heist::run(async { heist::spawn(async { 42 }).await });
/// assert_eq!(answer.unwrap(), 42);
/// ```
///
/// # Counterpart
///
/// `asyncio.run`. There left tasks are waited for without limit, and a `main` that swallows the interrupt gives its result.
#[doc(alias = "asyncio.run")]
#[track_caller]
pub fn run<F: Future>(main: F) -> F::Output {
    run_with(Builder::new(), main)
}

/// Runs a future on the calling thread until it is over, on the runtime that this thread is in, else on the process-wide one.
///
/// Works everywhere on a multi-threaded runtime: inside a task, another thread serves in its place meanwhile.
/// There are four such threads per core, at most; the exception handler is told when they do not suffice.
///
/// # Panics
///
/// If the process-wide runtime is needed and cannot be started. If `future` panics, with its panic; if it is cancelled,
/// or its runtime is shut down, with the [`TaskError`](crate::TaskError) as payload. On a
/// [`LocalRuntime`](crate::LocalRuntime)'s own thread, inside of another `block_on`.
///
/// # Examples
///
/// ```
/// assert_eq!(heist::block_on(async { 3 }), 3);
/// ```
///
/// # Counterpart
///
/// `loop.run_until_complete`; `tokio::runtime::Handle::block_on`, which panics inside a task.
#[doc(alias = "run_until_complete")]
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    Handle::current_or_global().block_on_with(future, Meta::caller())
}

#[track_caller]
pub(crate) fn run_with<F: Future>(builder: Builder, main: F) -> F::Output {
    let meta = Meta::caller();
    let runtime = started(builder.build());
    let role = global::offer(runtime.handle());
    let interrupt = Interrupt::listen(runtime.handle());
    let root = interrupt.watch(runtime.handle(), main);
    // What is left is drained in any case, before a panic goes on.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.handle().block_on_with(root, meta)
    }));
    drop(runtime);
    drop(role);
    interrupt.end();
    outcome.unwrap_or_else(|payload| resume_unwind(payload))
}

#[track_caller]
fn run_local<F: Future>(builder: Builder, main: F) -> F::Output {
    let meta = Meta::caller();
    let runtime = started(builder.build_local());
    let role = global::offer(runtime.handle());
    let interrupt = Interrupt::listen(runtime.handle());
    let root = interrupt.watch(runtime.handle(), main);
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on_with(root, meta)));
    drop(runtime);
    drop(role);
    interrupt.end();
    outcome.unwrap_or_else(|payload| resume_unwind(payload))
}

#[track_caller]
fn started<R>(built: std::io::Result<R>) -> R {
    match built {
        Ok(runtime) => runtime,
        Err(error) => panic!("cannot start the runtime: {error}"),
    }
}

/// Ctrl-C under `run`.
struct Interrupt {
    /// `None` where the signal cannot be listened to: then it ends the process as it always does.
    heard: Option<platform::Interrupt>,
    signal: Cell<Option<Signal>>,
}

impl Interrupt {
    fn listen(handle: &Handle) -> Self {
        let _entered = handle.enter();
        let (heard, signal) = platform::listen().unzip();
        Self {
            heard,
            signal: Cell::new(signal),
        }
    }

    /// Runs `main`, and cancels it at the first signal.
    async fn watch<F: Future>(&self, handle: &Handle, main: F) -> F::Output {
        let _watch = self.signal.take().map(|mut signal| {
            let main = task::current();
            Watching(Watch::start(handle, async move {
                if signal.recv().await.is_some() {
                    main.cancel_with("interrupted");
                }
            }))
        });
        main.await
    }

    /// Ends the process if it was heard.
    fn end(self) {
        if let Some(heard) = self.heard {
            heard.end();
        }
    }
}

/// Ends with `main`.
struct Watching(Arc<Watch>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What the attributes call.
#[doc(hidden)]
#[expect(
    unreachable_pub,
    reason = "`__macros` at the root of the crate makes it reachable"
)]
pub mod macros {
    use std::future::Future;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::process::{ExitCode, Termination};
    use std::sync::mpsc::{Sender, channel};
    use std::thread;
    use std::time::Duration;

    use super::{Builder, Handle, started};

    /// The options of an attribute.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Setup {
        workers: Option<usize>,
        timeout: Option<Duration>,
        local: bool,
        virtual_time: bool,
    }

    impl Setup {
        /// No options.
        #[must_use]
        pub fn new() -> Self {
            Self::default()
        }

        /// `worker_threads = n`
        #[must_use]
        pub fn worker_threads(mut self, n: usize) -> Self {
            self.workers = Some(n);
            self
        }

        /// `timeout = …`
        #[must_use]
        pub fn timeout(mut self, limit: Duration) -> Self {
            self.timeout = Some(limit);
            self
        }

        /// `local`
        #[must_use]
        pub fn local(mut self) -> Self {
            self.local = true;
            self
        }

        /// `virtual_time`
        #[must_use]
        pub fn virtual_time(mut self) -> Self {
            self.virtual_time = true;
            self
        }

        fn builder(self) -> Builder {
            let builder = Builder::new().virtual_time(self.virtual_time);
            match self.workers {
                Some(n) => builder.worker_threads(n),
                None => builder,
            }
        }
    }

    /// `#[heist::main]`
    #[track_caller]
    pub fn main<F: Future>(setup: Setup, main: F) -> F::Output {
        if setup.local {
            super::run_local(setup.builder(), main)
        } else {
            setup.builder().run(main)
        }
    }

    /// How long a test may take that does not say it.
    const LIMIT: Duration = Duration::from_secs(60);

    /// `#[heist::test]`: runs the body on a thread of its own, so that a body that blocks can be left behind.
    ///
    /// # Panics
    ///
    /// With the body's panic, or when it is not over in time.
    pub fn test<F>(name: &str, setup: Setup, body: fn() -> F) -> ExitCode
    where
        F: Future + 'static,
        F::Output: Termination,
    {
        let limit = setup.timeout.unwrap_or(LIMIT);
        let (progress, events) = channel();
        let thread = thread::current().name().unwrap_or(name).to_owned();
        let thread = thread::Builder::new().name(thread).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| run_test(setup, body, &progress)));
            // The body has ended, and left nothing behind.
            let _ = progress.send(Event::Over);
            outcome
        });
        let thread = thread.expect("a thread for the test");
        let mut handle = None;
        let deadline = std::time::Instant::now() + limit;
        loop {
            match events.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()))
            {
                Ok(Event::Started(started)) => handle = Some(started),
                Ok(Event::Over) => break,
                Err(_) => hangs(name, limit, handle.as_ref()),
            }
        }
        match thread.join() {
            Ok(Ok(code)) => code,
            Ok(Err(payload)) | Err(payload) => resume_unwind(payload),
        }
    }

    enum Event {
        Started(Handle),
        Over,
    }

    fn run_test<F>(setup: Setup, body: fn() -> F, progress: &Sender<Event>) -> ExitCode
    where
        F: Future,
        F::Output: Termination,
    {
        if setup.local {
            let runtime = started(setup.builder().build_local());
            let _ = progress.send(Event::Started(runtime.handle().clone()));
            runtime.block_on(body()).report()
        } else {
            let runtime = started(setup.builder().build());
            let _ = progress.send(Event::Started(runtime.handle().clone()));
            runtime.block_on(body()).report()
        }
    }

    fn hangs(name: &str, limit: Duration, handle: Option<&Handle>) -> ! {
        let tasks = handle.map(Handle::all_tasks).unwrap_or_default();
        let list: String = tasks.iter().map(|task| format!("\n  {task:?}")).collect();
        panic!("{name}: not over within {limit:?}; these tasks wait:{list}");
    }
}
