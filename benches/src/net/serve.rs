//! The servers, written once for all backends.

use std::convert::Infallible;
use std::io::{self, BufRead, Write};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};

use crate::backend::{Backend, Stream};
use crate::figures::process_cpu;

/// Bytes of an echoed message.
pub const MESSAGE: usize = 64;

/// Longer than a message, so that a runtime can tell from a short read that nothing more is there.
pub(crate) const BUFFER: usize = 1024;

/// Answers with what it got.
///
/// # Errors
/// When the runtime cannot be started or the socket cannot be bound.
pub fn echo<B: Backend>(workers: usize) -> io::Result<()> {
    serve::<B, _, _>(workers, echo_one::<_, BUFFER>)
}

/// The same with a buffer of one message, where the memory per connection is the question.
///
/// # Errors
/// When the runtime cannot be started or the socket cannot be bound.
pub fn echo_small<B: Backend>(workers: usize) -> io::Result<()> {
    serve::<B, _, _>(workers, echo_one::<_, MESSAGE>)
}

/// Answers every request with the same few bytes.
///
/// # Errors
/// When the runtime cannot be started or the socket cannot be bound.
pub fn http<B: Backend>(workers: usize) -> io::Result<()> {
    serve::<B, _, _>(workers, |stream| async {
        let hello = service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(
                b"Hello, world!",
            ))))
        });
        // A client that goes away in the middle of a request is no failure of the server.
        let _ended = http1::Builder::new()
            .serve_connection(B::hyper_io(stream), hello)
            .await;
    })
}

/// Runs a few tasks and timers, then has nothing to do until its standard input ends.
///
/// # Errors
/// When the runtime cannot be started.
pub fn idle<B: Backend>(workers: usize) -> io::Result<()> {
    let backend = B::start(workers)?;
    let sleep = |duration| async move { backend.sleep(duration).await };
    for _ in 0..100 {
        B::detach(backend.spawn_outside(sleep(Duration::from_millis(5))));
    }
    backend.block_on(backend.spawn_outside(sleep(Duration::from_millis(20))));
    answer_questions(0)
}

async fn echo_one<S: Stream, const LENGTH: usize>(mut stream: S) {
    let mut buffer = [0; LENGTH];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

fn serve<B, F, H>(workers: usize, handler: H) -> io::Result<()>
where
    B: Backend,
    F: Future<Output = ()> + Send + 'static,
    H: Fn(B::Stream) -> F + Send + Sync + 'static,
{
    let backend = B::start(workers)?;
    let (listener, address) =
        backend.block_on(backend.spawn_outside(async move { backend.bind().await }))?;
    B::detach(backend.spawn_outside(async move {
        while let Ok(stream) = B::accept(&listener).await {
            B::detach(backend.spawn(handler(stream)));
        }
    }));
    answer_questions(address.port())
}

/// Tells the port, then the CPU time in nanoseconds for each line on the standard input, until it ends.
pub(crate) fn answer_questions(port: u16) -> io::Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{port}")?;
    for line in io::stdin().lock().lines() {
        line?;
        writeln!(output, "{}", process_cpu().as_nanos())?;
    }
    Ok(())
}
