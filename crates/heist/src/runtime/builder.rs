//! The settings of a runtime.

use std::ffi::OsStr;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt, io};

use heist_core::error::ExceptionContext;
use heist_scheduler::{Config, Stall};

use super::{LocalRuntime, Runtime};
use crate::global::BuildGlobalError;
use crate::{entry, global};

/// Settings of a runtime that is about to be built.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = heist::Runtime::builder().worker_threads(2).thread_name("background").build()?;
/// assert_eq!(runtime.block_on(async { 1 + 1 }), 2);
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// The arguments of `asyncio.Runner` and the setters of a loop; `tokio::runtime::Builder`.
#[derive(Clone)]
#[doc(alias = "Runner")]
#[must_use = "nothing is started yet"]
pub struct Builder {
    config: Config,
    /// Whether the number of workers was set here, which counts more than the environment.
    workers_set: bool,
    debug_set: bool,
    virtual_time: bool,
}

impl Builder {
    /// The default settings: one worker per available core, or as many as `HEIST_WORKERS` says when it is built.
    pub fn new() -> Self {
        Self {
            config: Config::default(),
            workers_set: false,
            debug_set: false,
            virtual_time: false,
        }
    }

    /// How many workers there are, from 1 to 1024. Counts more than `HEIST_WORKERS`.
    pub fn worker_threads(mut self, n: usize) -> Self {
        self.config.worker_threads = n;
        self.workers_set = true;
        self
    }

    /// How many threads there are for blocking closures, at most. Default: 512.
    pub fn max_blocking_threads(mut self, n: usize) -> Self {
        self.config.max_blocking_threads = n;
        self
    }

    /// What the threads are called; each gets a number behind it.
    #[doc(alias = "thread_name_prefix")]
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.config.thread_name = name.into();
        self
    }

    /// The stack of each thread, from 64 KiB to 1 GiB.
    pub fn thread_stack_size(mut self, bytes: usize) -> Self {
        self.config.thread_stack_size = Some(bytes);
        self
    }

    /// Has `f` called on each thread of the runtime before anything else.
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.on_thread_start = Some(Arc::new(f));
        self
    }

    /// Has `f` called on each thread of the runtime after everything else.
    pub fn on_thread_stop(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.config.on_thread_stop = Some(Arc::new(f));
        self
    }

    /// Has `f` told about what went wrong where nobody could be told otherwise: a panic of a task that nobody looked at, a
    /// panic in a callback. Default: a message on standard error.
    ///
    /// `f` is kept as long as there are handles of the runtime: if it owns one itself, neither is ever dropped.
    ///
    /// # Counterpart
    ///
    /// `loop.set_exception_handler`.
    #[doc(alias = "set_exception_handler")]
    pub fn exception_handler(
        mut self,
        f: impl Fn(&ExceptionContext<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.config.exception_handler = Some(Arc::new(f));
        self
    }

    /// Whether the clock is virtual, for tests: it stands still while anything runs, and jumps to the next timer when nothing does, on
    /// any number of workers. See [`testing`](crate::testing).
    ///
    /// # Counterpart
    ///
    /// `tokio::runtime::Builder::start_paused`, on one thread; `autojump_clock` of Trio.
    #[doc(alias = "start_paused")]
    pub fn virtual_time(mut self, on: bool) -> Self {
        self.virtual_time = on;
        self
    }

    /// Debug mode: polls are timed, and slow ones reported; and so is each task that is still pending when the runtime is dropped and its
    /// grace is over. All of it goes to the [exception handler](Self::exception_handler). Counts more than `HEIST_DEBUG`, which is `1` or `0`.
    ///
    /// # Counterpart
    ///
    /// `loop.set_debug`, `PYTHONASYNCIODEBUG=1`.
    #[doc(alias = "set_debug")]
    #[doc(alias = "PYTHONASYNCIODEBUG")]
    pub fn debug(mut self, on: bool) -> Self {
        self.config.debug = on;
        self.debug_set = true;
        self
    }

    /// From when on a poll counts as slow, in debug mode. Default: 100 ms.
    ///
    /// # Counterpart
    ///
    /// `loop.slow_callback_duration`.
    #[doc(alias = "slow_callback_duration")]
    pub fn slow_poll_threshold(mut self, d: Duration) -> Self {
        self.config.slow_poll_threshold = d;
        self
    }

    /// How long a poll may take until its worker counts as blocked, from 1 ms. `None`: for ever. Default: 10 ms.
    ///
    /// Another thread then serves in its place: ready tasks, timers and I/O go on, its own queue included. It also does so
    /// earlier if the thread is blocked in the kernel and something waits for it, and ten times as late while a thread of the runtime would
    /// run but gets no processor. In the place of polls that compute another thread serves where no worker is left that does, and one
    /// per two processors at most: more would not make them faster. A thread of the runtime, the monitor, looks after
    /// this while any worker is awake. A [`LocalRuntime`] has one thread, and nobody stands in for it.
    ///
    /// What is known to block should say so, with [`block_in_place`](crate::task::block_in_place), or run on
    /// [`spawn_blocking`](crate::spawn_blocking).
    pub fn blocked_worker_threshold(mut self, d: Option<Duration>) -> Self {
        self.config.blocked_worker_threshold = d;
        self
    }

    /// How many threads serve in the place of blocked workers, at most; up to 512. Default: four per available core.
    ///
    /// One that is no longer needed waits for five minutes, and ends.
    pub fn max_spare_workers(mut self, n: usize) -> Self {
        self.config.max_spare_workers = n;
        self
    }

    /// Has `f` told of each poll that takes longer than [`blocked_worker_threshold`](Builder::blocked_worker_threshold), while
    /// it does, and once more when it has ended. Without it, [`Metrics`](super::Metrics) has those that have not. No poll
    /// becomes a stall by the time that it spends in [`block_in_place`](crate::task::block_in_place) or
    /// [`block_on`](crate::block_on): that was announced.
    ///
    /// It is called on the monitor's thread: until it returns, no other blocked worker is noticed. What ends while the runtime ends
    /// is told by the worker's own thread.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = heist::Runtime::builder()
    ///     .on_stall(|stall| {
    ///         let task = stall.task.as_ref().map(|task| (task.name(), task.spawn_location()));
    ///         eprintln!("{task:?} is {} since {:?}", stall.activity, stall.elapsed);
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Counterpart
    ///
    /// asyncio's `slow_callback_duration` tells afterwards, and in debug mode only.
    #[doc(alias = "slow_callback_duration")]
    pub fn on_stall(mut self, f: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.config.on_stall = Some(Arc::new(f));
        self
    }

    /// How long the drop of a runtime, and the end of [`run`](crate::run), wait for tasks that were cancelled. Default: 5 s.
    #[doc(alias = "shutdown_timeout")]
    pub fn shutdown_grace(mut self, d: Duration) -> Self {
        self.config.shutdown_grace = d;
        self
    }

    /// Starts a runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` with a [`ConfigError`](super::ConfigError) inside for a value out of its range, and with an
    /// [`EnvironmentError`] for a variable of the environment that says nothing sensible. The system's error if a
    /// thread or the reactor cannot be made.
    pub fn build(mut self) -> io::Result<Runtime> {
        self.read_environment()?;
        Runtime::start(self.config, self.virtual_time)
    }

    /// Makes a runtime for the calling thread alone.
    ///
    /// # Errors
    ///
    /// As [`build`](Builder::build).
    #[doc(alias = "new_current_thread")]
    #[doc(alias = "LocalSet")]
    pub fn build_local(mut self) -> io::Result<LocalRuntime> {
        self.read_environment()?;
        LocalRuntime::start(self.config, self.virtual_time)
    }

    /// Starts the process-wide runtime, as whose first user would otherwise do.
    ///
    /// # Errors
    ///
    /// If there is one already, also that of a [`run`](crate::run), or if it cannot be started.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// heist::Runtime::builder().worker_threads(2).build_global()?;
    /// assert_eq!(heist::block_on(heist::spawn(async { 3 }))?, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Counterpart
    ///
    /// `asyncio.set_event_loop`; `rayon::ThreadPoolBuilder::build_global`.
    #[doc(alias = "set_event_loop")]
    pub fn build_global(self) -> Result<(), BuildGlobalError> {
        global::build(self)
    }

    /// [`heist::run`](crate::run) with these settings.
    ///
    /// # Panics
    ///
    /// If the runtime cannot be started.
    #[track_caller]
    pub fn run<F: Future>(self, main: F) -> F::Output {
        entry::run_with(self, main)
    }

    fn read_environment(&mut self) -> io::Result<()> {
        if let (false, Some(value)) = (self.workers_set, env::var_os(WORKERS)) {
            self.config.worker_threads = workers_of(&value)?;
        }
        if let (false, Some(value)) = (self.debug_set, env::var_os(DEBUG)) {
            self.config.debug = debug_of(&value)?;
        }
        Ok(())
    }
}

/// The number of workers that a value of the variable stands for.
pub(super) fn workers_of(value: &OsStr) -> Result<usize, EnvironmentError> {
    let value = value.to_string_lossy();
    match value.trim().parse() {
        Ok(workers @ 1..=1024) => Ok(workers),
        _ => Err(EnvironmentError {
            variable: WORKERS,
            value: value.into_owned(),
            wanted: "a number from 1 to 1024",
        }),
    }
}

fn debug_of(value: &OsStr) -> Result<bool, EnvironmentError> {
    match value.to_string_lossy().trim() {
        "1" => Ok(true),
        "0" => Ok(false),
        other => Err(EnvironmentError {
            variable: DEBUG,
            value: other.to_owned(),
            wanted: "1 or 0",
        }),
    }
}

const WORKERS: &str = "HEIST_WORKERS";
const DEBUG: &str = "HEIST_DEBUG";

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// A variable of the environment has a value that no runtime can be started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentError {
    variable: &'static str,
    value: String,
    wanted: &'static str,
}

impl EnvironmentError {
    /// The name of the variable.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {:?}; it must be {}, or not set",
            self.variable, self.value, self.wanted
        )
    }
}

impl std::error::Error for EnvironmentError {}

impl From<EnvironmentError> for io::Error {
    fn from(error: EnvironmentError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}
