//! smol with async-executor's `StaticExecutor`, which keeps no list of its tasks.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use async_executor::{StaticExecutor, Task};
use async_io::Async;
use smol_hyper::rt::FuturesIo;

use super::Backend;
use super::smol::{Threads, bind, sleep, stopped};

/// A running static executor.
#[derive(Clone, Copy, Debug)]
pub struct SmolStatic(&'static Running);

#[derive(Debug)]
struct Running {
    executor: StaticExecutor,
    threads: Threads,
}

impl Backend for SmolStatic {
    const NAME: &'static str = "smol-static";

    type Kit = crate::kit::SmolKit;
    type Join<T: Send + 'static> = Task<T>;
    type Listener = Async<TcpListener>;
    type Stream = Async<TcpStream>;
    type HyperIo = FuturesIo<Async<TcpStream>>;

    fn start(workers: usize) -> io::Result<Self> {
        let running: &'static Running = Box::leak(Box::new(Running {
            executor: StaticExecutor::new(),
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
