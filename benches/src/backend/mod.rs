//! Every compared runtime behind one trait.
//!
//! A backend is a small `Copy` value that tasks capture, as programs capture nothing at all with a runtime
//! that keeps its context in a thread-local: so that no runtime pays for a counted handle per task that its
//! users would not pay for.

mod heist;
mod smol;
mod smol_static;
mod tokio;

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub use self::heist::Heist;
pub use self::smol::Smol;
pub use self::smol_static::SmolStatic;
pub use self::tokio::Tokio;

use crate::kit::Kit;

/// A runtime with a number of workers, started and ready.
pub trait Backend: Copy + Debug + Send + Sync + 'static {
    /// What the command line calls it.
    const NAME: &'static str;

    /// The locks and channels that its users take.
    type Kit: Kit;

    /// A handle that waits for a task and gives its output.
    type Join<T: Send + 'static>: Future<Output = T> + Send + 'static;

    /// A listening TCP socket.
    type Listener: Send + Sync + 'static;

    /// A connected TCP socket.
    type Stream: Stream;

    /// A connected TCP socket in the form that hyper wants, as this runtime's users make it.
    type HyperIo: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static;

    /// Starts the runtime with everything but the number of workers left at its default.
    ///
    /// # Errors
    /// When threads or the poller cannot be created.
    fn start(workers: usize) -> io::Result<Self>;

    /// Ends the threads of the runtime. What is still spawned is dropped or leaked, as the runtime does it.
    fn stop(self);

    /// Drives `future` on the calling thread, which is none of the workers.
    fn block_on<F: Future>(self, future: F) -> F::Output;

    /// Spawns from inside of a task.
    fn spawn<F>(self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Spawns from a thread that the runtime does not know.
    fn spawn_outside<F>(self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Lets the task go on without a handle.
    fn detach<T: Send + 'static>(handle: Self::Join<T>);

    /// Runs a closure on a thread that may block; called inside of a task.
    fn spawn_blocking<F, T>(self, job: F) -> impl Future<Output = T> + Send + 'static
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    /// Waits for a duration; called inside of a task.
    fn sleep(self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// Listens on a free port of the loopback address; called inside of a task.
    ///
    /// # Errors
    /// What the system says.
    fn bind(self) -> impl Future<Output = io::Result<(Self::Listener, SocketAddr)>> + Send;

    /// Waits for the next connection.
    fn accept(listener: &Self::Listener) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Wraps a connection for hyper.
    fn hyper_io(stream: Self::Stream) -> Self::HyperIo;
}

/// The two operations that an echo server needs.
pub trait Stream: Send + 'static {
    /// Reads what is there, zero bytes at the end of the stream.
    fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;

    /// Writes all of `bytes`.
    fn write_all(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
}

/// What is done with a backend that was chosen by its name.
pub trait Visitor {
    /// What comes out.
    type Output;

    /// Does it.
    fn visit<B: Backend>(self) -> Self::Output;
}

/// The names of all backends, the reference first.
pub const NAMES: &[&str] = &[Tokio::NAME, Smol::NAME, SmolStatic::NAME, Heist::NAME];

/// Calls `visitor` with the backend `name`; `None` where no backend has that name.
pub fn with<V: Visitor>(name: &str, visitor: V) -> Option<V::Output> {
    match name {
        Tokio::NAME => Some(visitor.visit::<Tokio>()),
        Smol::NAME => Some(visitor.visit::<Smol>()),
        SmolStatic::NAME => Some(visitor.visit::<SmolStatic>()),
        Heist::NAME => Some(visitor.visit::<Heist>()),
        _ => None,
    }
}

/// A join handle whose output is a `Result` that no workload expects to be an error.
#[derive(Debug)]
pub struct Joined<H>(H);

impl<H, T, E: Debug> Future for Joined<H>
where
    H: Future<Output = Result<T, E>> + Unpin,
{
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|result| result.expect("a task of a workload neither panics nor is cancelled"))
    }
}
