//! What the connections lead to: a server that answers each line with one line.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_lite::StreamExt;
use futures_lite::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use heist::net::{TcpListener, TcpStream};
use heist::task::{GroupError, TaskGroup};

/// The name of the task of each connection.
pub(crate) const SERVED: &str = "served";

/// What the server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    open: AtomicUsize,
    most: AtomicUsize,
    pings: AtomicUsize,
}

impl Seen {
    /// How many connections there are.
    #[allow(dead_code, reason = "the tests ask")]
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many there were at most at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// How often one was checked.
    #[allow(dead_code, reason = "the tests ask")]
    pub(crate) fn pings(&self) -> usize {
        self.pings.load(Ordering::Relaxed)
    }

    fn enter(self: Arc<Self>) -> Open {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        Open(self)
    }
}

/// One connection that is open.
struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves until it is cancelled. Its connections end with it.
pub(crate) async fn serve(listener: TcpListener, seen: Arc<Seen>) -> Result<(), GroupError> {
    TaskGroup::run(async |group| {
        loop {
            let (stream, _) = listener.accept().await?;
            let open = Arc::clone(&seen).enter();
            group.named(SERVED).spawn(async move {
                // A client that is gone is nobody's failure.
                let _ = answer(stream, open).await;
            })?;
        }
    })
    .await
}

/// Whoever sees that the connection is closed finds it counted as closed: what is named last is dropped first.
async fn answer(stream: TcpStream, open: Open) -> io::Result<()> {
    let (mut lines, mut output) = (BufReader::new(&stream).lines(), &stream);
    while let Some(line) = lines.next().await.transpose()? {
        let answer = match line.as_str() {
            // A connection that breaks in the middle of something.
            "break" => return Ok(()),
            "ping" => {
                open.0.pings.fetch_add(1, Ordering::Relaxed);
                "pong\n".to_owned()
            }
            line => format!("{}\n", line.to_uppercase()),
        };
        output.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
