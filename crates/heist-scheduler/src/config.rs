//! What a scheduler is started with, and which values it refuses.

use std::fmt;
use std::io;
use std::time::Duration;

use heist_core::error::ExceptionContext;

use crate::blocking::KEEP_ALIVE;
use crate::monitor::Stall;
use crate::sync::{self, Arc};

/// Told about what went wrong in user code and has nobody else to tell.
pub type ExceptionHandler = Arc<dyn Fn(&ExceptionContext<'_>) + Send + Sync>;

/// Told about polls that take too long.
pub type StallHook = Arc<dyn Fn(&Stall) + Send + Sync>;

/// Runs on each thread of a runtime, at its start or its end.
pub type ThreadHook = Arc<dyn Fn() + Send + Sync>;

/// Settings of a scheduler.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Workers that poll tasks at the same time. Default: one per available core.
    pub worker_threads: usize,
    /// Threads for blocking closures, at most. Default: 512.
    pub max_blocking_threads: usize,
    /// A thread for blocking closures that had none for so long ends.
    pub(crate) blocking_keep_alive: Duration,
    /// Threads that serve in the place of blocked workers, at most. Default: four per available core, at most 512.
    pub max_spare_workers: usize,
    /// Threads are called `{thread_name}-{index}`. Default: `heist-worker`.
    pub thread_name: String,
    /// Stack of each thread. Default: what the standard library takes.
    pub thread_stack_size: Option<usize>,
    /// Runs on each thread before anything else.
    pub on_thread_start: Option<ThreadHook>,
    /// Runs on each thread after everything else.
    pub on_thread_stop: Option<ThreadHook>,
    /// Default: one line on standard error.
    pub exception_handler: Option<ExceptionHandler>,
    /// Whether polls are timed. Default: `false`.
    pub debug: bool,
    /// A poll that takes longer is reported, in debug mode. Default: 100 ms.
    pub slow_poll_threshold: Duration,
    /// A worker that has been in one poll for so long counts as blocked. `None`: never. Default: 10 ms.
    pub blocked_worker_threshold: Option<Duration>,
    /// Called when a poll has taken longer than that, and once more when it ends.
    pub on_stall: Option<StallHook>,
    /// How long a shutdown that was not told waits for tasks to end. Default: 5 s.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let cores = sync::parallelism();
        Self {
            worker_threads: cores.min(MOST_WORKERS),
            max_blocking_threads: 512,
            blocking_keep_alive: KEEP_ALIVE,
            max_spare_workers: (sync::SPARES_PER_CORE * cores).min(MOST_SPARES),
            thread_name: "heist-worker".to_owned(),
            thread_stack_size: None,
            on_thread_start: None,
            on_thread_stop: None,
            exception_handler: None,
            debug: false,
            slow_poll_threshold: Duration::from_millis(100),
            blocked_worker_threshold: Some(Duration::from_millis(10)),
            on_stall: None,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Refuses what no runtime can be started with.
    ///
    /// # Errors
    /// `InvalidInput`, with a [`ConfigError`] inside, for the first field that is out of its range.
    pub fn validate(&self) -> io::Result<()> {
        in_range("worker_threads", self.worker_threads, 1, MOST_WORKERS)?;
        in_range(
            "max_blocking_threads",
            self.max_blocking_threads,
            1,
            MOST_BLOCKING,
        )?;
        in_range("max_spare_workers", self.max_spare_workers, 0, MOST_SPARES)?;
        if let Some(size) = self.thread_stack_size {
            in_range("thread_stack_size", size, SMALLEST_STACK, LARGEST_STACK)?;
        }
        if self
            .blocked_worker_threshold
            .is_some_and(|threshold| threshold < SHORTEST_THRESHOLD)
        {
            return Err(ConfigError {
                field: "blocked_worker_threshold",
                value: format!("{:?}", self.blocked_worker_threshold),
                range: format!("at least {SHORTEST_THRESHOLD:?}, or None"),
            }
            .into());
        }
        if self.thread_name.contains('\0') {
            return Err(ConfigError {
                field: "thread_name",
                value: format!("{:?}", self.thread_name),
                range: "a name without NUL bytes".to_owned(),
            }
            .into());
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("worker_threads", &self.worker_threads)
            .field("max_blocking_threads", &self.max_blocking_threads)
            .field("max_spare_workers", &self.max_spare_workers)
            .field("thread_name", &self.thread_name)
            .field("thread_stack_size", &self.thread_stack_size)
            .field("debug", &self.debug)
            .field("slow_poll_threshold", &self.slow_poll_threshold)
            .field("blocked_worker_threshold", &self.blocked_worker_threshold)
            .field("shutdown_grace", &self.shutdown_grace)
            .finish_non_exhaustive()
    }
}

/// A setting that no runtime can be started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    value: String,
    range: String,
}

impl ConfigError {
    /// The name of the setting.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What it was set to.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What it may be set to.
    #[must_use]
    pub fn range(&self) -> &str {
        &self.range
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            value,
            range,
        } = self;
        write!(f, "{field} is {value}; it must be {range}")
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for io::Error {
    fn from(error: ConfigError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

fn in_range(field: &'static str, value: usize, least: usize, most: usize) -> io::Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError {
        field,
        value: value.to_string(),
        range: format!("from {least} to {most}"),
    }
    .into())
}

const SHORTEST_THRESHOLD: Duration = Duration::from_millis(1);
const MOST_WORKERS: usize = 1024;
const MOST_SPARES: usize = 512;
const MOST_BLOCKING: usize = 1 << 16;
const SMALLEST_STACK: usize = 64 << 10;
const LARGEST_STACK: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> ConfigError {
        let mut config = Config::default();
        change(&mut config);
        let error = config.validate().expect_err("the value is out of range");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<ConfigError>());
        inner.expect("the error carries a ConfigError").clone()
    }

    #[test]
    fn the_default_is_accepted() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn each_bound_is_checked_and_named() {
        for workers in [0, 1025] {
            let error = refused(|c| c.worker_threads = workers);
            assert_eq!(error.field(), "worker_threads");
            assert_eq!(error.value(), workers.to_string());
            assert_eq!(error.range(), "from 1 to 1024");
        }
        for size in [0, (64 << 10) - 1, (1 << 30) + 1] {
            let error = refused(|c| c.thread_stack_size = Some(size));
            assert_eq!(error.field(), "thread_stack_size");
            assert_eq!(
                error.to_string(),
                format!("thread_stack_size is {size}; it must be from 65536 to 1073741824")
            );
        }
        assert_eq!(
            refused(|c| c.max_blocking_threads = 0).field(),
            "max_blocking_threads"
        );
        assert_eq!(
            refused(|c| c.max_spare_workers = 513).field(),
            "max_spare_workers"
        );
        let error = refused(|c| c.blocked_worker_threshold = Some(Duration::from_micros(999)));
        assert_eq!(
            error.to_string(),
            "blocked_worker_threshold is Some(999µs); it must be at least 1ms, or None"
        );
        assert_eq!(
            refused(|c| c.thread_name = "a\0b".into()).field(),
            "thread_name"
        );
    }

    #[test]
    fn the_bounds_themselves_are_accepted() {
        for (workers, stack) in [(1, 64 << 10), (1024, 1 << 30)] {
            let config = Config {
                worker_threads: workers,
                thread_stack_size: Some(stack),
                ..Config::default()
            };
            config.validate().unwrap();
        }
    }
}
