//! The ways in: `run`, `block_on`, and what the attributes call.
//!
//! # Ctrl-C
//!
//! ```text
//!   running ──first──► main is cancelled ──main and its clean-up are over──► exit 130
//!                             └──second──► exit 130, at once
//! ```
//! The first signal is heard by the driver, also while main blocks its own thread; a thread waits for the second, so that it is
//! heard while the runtime drains. Neither is a task: a program sees only its own.

#[cfg_attr(unix, path = "entry/unix.rs")]
#[cfg_attr(not(unix), path = "entry/other.rs")]
mod platform;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, mpsc};
use std::{process, thread};

use heist_core::task::Meta;

use crate::runtime::watch::Watch;
use crate::runtime::{Builder, Handle, LocalRuntime};
use crate::shim::{AtomicBool, Ordering};
use crate::{global, task};

use platform::{Signal, ctrl_c};

/// What a process that Ctrl-C ended exits with, as shells count: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

/// Runs a program: starts a runtime, runs `main` on it, and ends it.
///
/// When `main` is over, what is still running is cancelled and gets the grace period for its clean-up. While it lasts its
/// runtime is the process-wide one, unless there is one already.
///
/// The first Ctrl-C cancels `main`, and the process exits with 130 after its clean-up. The second one exits at once.
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
    interrupt.exit_if_told();
    outcome.unwrap_or_else(|payload| resume_unwind(payload))
}

#[track_caller]
fn run_local<F: Future>(builder: Builder, main: F) -> F::Output {
    let meta = Meta::caller();
    let runtime = started(builder.build_local());
    let interrupt = Interrupt::listen(runtime.handle());
    let root = interrupt.watch(runtime.handle(), main);
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on_with(root, meta)));
    drop(runtime);
    interrupt.exit_if_told();
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
    told: Arc<AtomicBool>,
    /// `None` where the signal cannot be listened to: then it ends the process as it always does.
    signal: std::cell::Cell<Option<Signal>>,
}

impl Interrupt {
    fn listen(handle: &Handle) -> Self {
        let _entered = handle.enter();
        let signal = std::cell::Cell::new(ctrl_c());
        Self {
            told: Arc::default(),
            signal,
        }
    }

    /// Runs `main`, and cancels it at the first signal.
    async fn watch<F: Future>(&self, handle: &Handle, main: F) -> F::Output {
        let _watch = self.signal.take().map(|mut signal| {
            let (main, told) = (task::current(), Arc::clone(&self.told));
            Watching(Watch::start(handle, async move {
                if signal.recv().await.is_some() {
                    // ORDERING(told): main is cancelled after this, and its end is seen after that.
                    told.store(true, Ordering::Release);
                    exit_at_the_next();
                    main.cancel_with("interrupted");
                }
            }))
        });
        main.await
    }

    fn exit_if_told(&self) {
        // ORDERING(told): main has ended; if the signal ended it, this sees the store before the cancellation.
        if self.told.load(Ordering::Acquire) {
            process::exit(INTERRUPTED);
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

/// Starts a thread that ends the process at the next Ctrl-C, and returns when it listens.
fn exit_at_the_next() {
    let (listening, begun) = mpsc::channel();
    let wait = move || {
        let Ok(runtime) = LocalRuntime::new() else {
            return;
        };
        runtime.block_on(async {
            let Some(mut signal) = ctrl_c() else {
                return;
            };
            let _ = listening.send(());
            if signal.recv().await.is_some() {
                process::exit(INTERRUPTED);
            }
        });
    };
    if thread::Builder::new()
        .name("ctrl-c".to_owned())
        .spawn(wait)
        .is_ok()
    {
        // An error: it cannot listen, and has ended.
        let _ = begun.recv();
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

        fn builder(self) -> Builder {
            let builder = Builder::new();
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
