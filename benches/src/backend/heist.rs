//! heist itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::net::{TcpListener, TcpStream};
use heist::{Handle, Runtime, Task};

use super::{Backend, Joined, Stream};

/// A running heist runtime.
#[derive(Clone, Copy, Debug)]
pub struct Heist(&'static Running);

#[derive(Debug)]
struct Running {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl Backend for Heist {
    const NAME: &'static str = "heist";

    type Kit = crate::kit::HeistKit;
    type Join<T: Send + 'static> = Joined<Task<T>>;
    type Listener = TcpListener;
    type Stream = TcpStream;
    type HyperIo = TcpStream;

    fn start(workers: usize) -> io::Result<Self> {
        let runtime = Runtime::builder().worker_threads(workers).build()?;
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
        Joined(heist::spawn(future))
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
        Joined(heist::spawn_blocking(job))
    }

    fn sleep(self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        heist::time::sleep(duration)
    }

    async fn bind(self) -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
        Ok(listener.accept().await?.0)
    }

    fn hyper_io(stream: TcpStream) -> TcpStream {
        stream
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
