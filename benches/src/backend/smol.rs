//! smol: async-executor's `Executor`, run by threads under `async_io::block_on`, as its users run it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_executor::{Executor, Task};
use async_io::{Async, Timer};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use smol_hyper::rt::FuturesIo;

use super::{Backend, Stream};

/// A running smol executor.
#[derive(Clone, Copy, Debug)]
pub struct Smol(&'static Running);

#[derive(Debug)]
struct Running {
    executor: Executor<'static>,
    threads: Threads,
}

impl Backend for Smol {
    const NAME: &'static str = "smol";

    type Kit = crate::kit::SmolKit;
    type Join<T: Send + 'static> = Task<T>;
    type Listener = Async<TcpListener>;
    type Stream = Async<TcpStream>;
    type HyperIo = FuturesIo<Async<TcpStream>>;

    fn start(workers: usize) -> io::Result<Self> {
        let running: &'static Running = Box::leak(Box::new(Running {
            executor: Executor::new(),
            threads: Threads::new(),
        }));
        running.threads.start(workers, move |stop| {
            async_io::block_on(running.executor.run(stopped(stop)))
        })?;
        Ok(Self(running))
    }

    fn stop(self) {
        self.0.threads.stop();
    }

    fn block_on<F: Future>(self, future: F) -> F::Output {
        async_io::block_on(future)
    }

    fn spawn<F>(self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.executor.spawn(future)
    }

    fn spawn_outside<F>(self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.executor.spawn(future)
    }

    fn detach<T: Send + 'static>(handle: Task<T>) {
        handle.detach();
    }

    fn spawn_blocking<F, T>(self, job: F) -> impl Future<Output = T> + Send + 'static
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        blocking::unblock(job)
    }

    fn sleep(self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        sleep(duration)
    }

    async fn bind(self) -> io::Result<(Self::Listener, SocketAddr)> {
        bind()
    }

    async fn accept(listener: &Self::Listener) -> io::Result<Self::Stream> {
        Ok(listener.accept().await?.0)
    }

    fn hyper_io(stream: Self::Stream) -> Self::HyperIo {
        FuturesIo::new(stream)
    }
}

impl Stream for Async<TcpStream> {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        AsyncReadExt::read(self, buffer).await
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        AsyncWriteExt::write_all(self, bytes).await
    }
}

/// The worker threads of one executor. A closed channel tells them to stop.
#[derive(Debug)]
pub(super) struct Threads {
    stop: Sender<()>,
    stopped: Receiver<()>,
    joins: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    pub(super) fn new() -> Self {
        let (stop, stopped) = async_channel::bounded(1);
        Self {
            stop,
            stopped,
            joins: Mutex::default(),
        }
    }

    /// Starts `workers` threads that call `run`, which must return once its channel is closed.
    pub(super) fn start(
        &self,
        workers: usize,
        run: impl Fn(Receiver<()>) + Clone + Send + 'static,
    ) -> io::Result<()> {
        for index in 0..workers {
            let (run, stopped) = (run.clone(), self.stopped.clone());
            let join = thread::Builder::new()
                .name(format!("smol-{index}"))
                .spawn(move || run(stopped))?;
            self.joins
                .lock()
                .expect("nothing panics under this lock")
                .push(join);
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.stop.close();
        let joins =
            std::mem::take(&mut *self.joins.lock().expect("nothing panics under this lock"));
        for join in joins {
            join.join().expect("a worker thread does not panic");
        }
    }
}

/// Waits until the channel is closed.
pub(super) async fn stopped(stop: Receiver<()>) {
    let closed = stop.recv().await;
    debug_assert!(closed.is_err(), "nothing is ever sent");
}

pub(super) async fn sleep(duration: Duration) {
    Timer::after(duration).await;
}

pub(super) fn bind() -> io::Result<(Async<TcpListener>, SocketAddr)> {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
    let address = listener.get_ref().local_addr()?;
    Ok((listener, address))
}
