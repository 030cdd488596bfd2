//! tokio's multi-threaded runtime.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use super::{Backend, Joined, Stream};

/// A running tokio runtime.
#[derive(Clone, Copy, Debug)]
pub struct Tokio(&'static Running);

#[derive(Debug)]
struct Running {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl Backend for Tokio {
    const NAME: &'static str = "tokio";

    type Kit = crate::kit::TokioKit;
    type Join<T: Send + 'static> = Joined<JoinHandle<T>>;
    type Listener = TcpListener;
    type Stream = TcpStream;
    type HyperIo = TokioIo<TcpStream>;

    fn start(workers: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build()?;
        let running = Running {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
        };
        Ok(Self(Box::leak(Box::new(running))))
    }

    fn stop(self) {
        let runtime = self
            .0
            .runtime
            .lock()
            .expect("nothing panics under this lock")
            .take();
        drop(runtime);
    }

    fn block_on<F: Future>(self, future: F) -> F::Output {
        self.0.handle.block_on(future)
    }

    fn spawn<F>(self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Joined(tokio::spawn(future))
    }

    fn spawn_outside<F>(self, future: F) -> Self::Join<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Joined(self.0.handle.spawn(future))
    }

    fn detach<T: Send + 'static>(handle: Self::Join<T>) {
        drop(handle);
    }

    fn spawn_blocking<F, T>(self, job: F) -> impl Future<Output = T> + Send + 'static
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Joined(tokio::task::spawn_blocking(job))
    }

    fn sleep(self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(duration)
    }

    async fn bind(self) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
        Ok(listener.accept().await?.0)
    }

    fn hyper_io(stream: TcpStream) -> Self::HyperIo {
        TokioIo::new(stream)
    }
}

impl Stream for TcpStream {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        AsyncReadExt::read(self, buffer).await
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        AsyncWriteExt::write_all(self, bytes).await
    }
}
