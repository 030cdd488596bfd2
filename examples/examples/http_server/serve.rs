//! Accept loop, connections, and the graceful stop.
//!
//! A stop goes through three steps. The accept loop ends and the listener closes: nobody else gets in. Every
//! connection is told: an idle one closes at once, a busy one after the response that it owes. Then the server waits
//! until the last connection has gone, for at most the grace.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use heist::future::Shared;
use heist::hyper::HeistTimer;
use heist::net::{TcpListener, TcpStream};
use heist::signal::{Signal, SignalKind, signal};
use heist::{Deferred, Promise, Task, promise};
use hyper::server::conn::http1;
use hyper::service::service_fn;

use crate::race::{Either, race};
use crate::routes::{self, Counts};

pub(crate) struct Server {
    listener: TcpListener,
    counts: Arc<Counts>,
}

impl Server {
    pub(crate) async fn bind(address: SocketAddr, counts: Arc<Counts>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, counts })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until a signal or the end of the load, then drains. Returns the program's exit code and how many
    /// connections were left.
    pub(crate) async fn run(
        self,
        mut stop: Stop,
        load: Option<Task<ExitCode>>,
        grace: Duration,
    ) -> (ExitCode, usize) {
        let (stopping, stopped) = promise();
        let (live, gone) = Live::new();
        let accept = heist::spawn(accept(
            self.listener,
            self.counts,
            stopped.share(),
            Arc::clone(&live),
        ));

        let code = match load {
            Some(load) => match race(load, stop.wait()).await {
                Either::First(Ok(code)) => code,
                Either::First(Err(_)) => ExitCode::FAILURE,
                Either::Second(()) => ExitCode::SUCCESS,
            },
            None => {
                stop.wait().await;
                ExitCode::SUCCESS
            }
        };

        // Wakes the accept loop and every connection.
        let _ = stopping.set_result(());
        let _ = accept.await;
        let open = Arc::clone(&live.open);
        drop(live);
        let _ = heist::time::timeout(grace, gone).await;
        (code, open.load(Ordering::Relaxed))
    }
}

/// Accepts until `stopped`. No error ends it: a server that is out of descriptors today has some again tomorrow.
async fn accept(listener: TcpListener, counts: Arc<Counts>, stopped: Shared<()>, live: Arc<Live>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        // In this order: however many wait to get in, it ends.
        let Either::Second(accepted) = race(stopped.clone(), listener.accept()).await else {
            return;
        };
        match accepted {
            Ok((stream, _)) => {
                pause = SHORTEST_PAUSE;
                let connection = connection(
                    stream,
                    Arc::clone(&counts),
                    stopped.clone(),
                    Entry::new(&live),
                );
                heist::task::Builder::new()
                    .name("connection")
                    .spawn(connection);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(_) => {
                // Descriptors or memory have run out: connections wait in the kernel's queue meanwhile.
                race(heist::time::sleep(pause), stopped.clone()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The peer gave up while it waited in the queue; the next one may be fine.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a connection may be without a complete request head, also between two requests. hyper's own 30 s would close
/// what a proxy keeps open for the next request.
const PATIENCE: Duration = Duration::from_secs(120);

/// Serves one connection until it closes. After the stop it answers what it has read and closes.
async fn connection(stream: TcpStream, counts: Arc<Counts>, stopped: Shared<()>, _entry: Entry) {
    // A failure here only means small delays.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| routes::answer(request, Arc::clone(&counts)));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(HeistTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(stream, service)
    );
    if let Either::Second(_) = race(connection.as_mut(), stopped).await {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
    // What remains are errors of the client: a reset, half a request. There is nobody to tell.
}

/// The connections that are open. The last one to go completes the drain.
struct Live {
    open: Arc<AtomicUsize>,
    gone: Option<Promise<()>>,
}

impl Live {
    fn new() -> (Arc<Self>, Deferred<()>) {
        let (gone, all_gone) = promise();
        (
            Arc::new(Self {
                open: Arc::default(),
                gone: Some(gone),
            }),
            all_gone,
        )
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(gone) = self.gone.take() {
            let _ = gone.set_result(());
        }
    }
}

/// One open connection in `Live`.
struct Entry {
    live: Arc<Live>,
}

impl Entry {
    fn new(live: &Arc<Live>) -> Self {
        live.open.fetch_add(1, Ordering::Relaxed);
        Self {
            live: Arc::clone(live),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.live.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The signals that stop the server.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From here on neither signal ends the process by itself.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        race(self.interrupt.recv(), self.terminate.recv()).await;
    }
}
