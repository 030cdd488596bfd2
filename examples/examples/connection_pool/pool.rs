//! A pool of connections.
//!
//! There are `size` places, the permits of a semaphore. Whoever has one may have a connection: an idle one, or if there is none a
//! new one. An idle connection is put down before its place is free. So there are never more connections than places, and
//! whoever waits is served in the order of coming, since the semaphore is fair.
//!
//! | who goes away | what becomes of its connection |
//! |---|---|
//! | work that has succeeded | it is idle, for the next one |
//! | work that has failed | it is thrown away: who knows what is on its way |
//! | work that was dropped or cancelled | the same: both, and the place, are local variables |
//!
//! The idle ones are behind a [`Mutex`] that is never held while anybody waits for something else. Its [`Condvar`] tells the one who
//! [keeps](Pool::keep) the pool that there is something to check, and that the pool is closed.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_lite::future::poll_once;
use futures_lite::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use heist::net::TcpStream;
use heist::sync::{Condvar, Mutex, Permit, Semaphore};
use heist::time::{Duration, Instant, timeout, timeout_at};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How many connections there are at most.
    pub(crate) size: usize,
    /// A connection that has been idle for so long is checked.
    pub(crate) check_after: Duration,
    /// How long a connect, or the answer to a check, may take.
    pub(crate) patience: Duration,
}

#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    settings: Settings,
    places: Semaphore,
    shelf: Mutex<Shelf>,
    changed: Condvar,
    opened: AtomicUsize,
}

/// Where the connections are that nobody uses.
#[derive(Debug, Default)]
struct Shelf {
    /// The one that was used or checked last is the last one.
    idle: VecDeque<Connection>,
    closed: bool,
}

impl Pool {
    pub(crate) fn new(address: SocketAddr, settings: Settings) -> Self {
        Self {
            address,
            settings,
            places: Semaphore::bounded(settings.size),
            shelf: Mutex::default(),
            changed: Condvar::new(),
            opened: AtomicUsize::new(0),
        }
    }

    /// Lends a connection to `work`, as soon as it is the caller's turn. Python's `async with pool.connection()`.
    ///
    /// It comes back if `work` succeeds; otherwise it is thrown away. An error of kind `NotConnected`: the pool is closed.
    pub(crate) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> io::Result<T>,
    ) -> io::Result<T> {
        let place = self.places.acquire().await;
        let mut connection = match self.take_idle().await? {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let value = work(&mut connection).await?;
        self.put_back(place, connection).await;
        Ok(value)
    }

    /// Closes the pool, and waits until all connections are back. They are closed then.
    ///
    /// If it is dropped the pool is closed all the same, or was not touched.
    pub(crate) async fn close(&self) {
        let mut shelf = self.shelf.lock().await;
        shelf.closed = true;
        shelf.idle.clear();
        drop(shelf);
        self.changed.notify_all();
        // Those who stand in line before this one get their places, find the pool closed, and go.
        let _all = self.places.acquire_many(self.settings.size).await;
    }

    /// Checks the connections that have been idle for long, until the pool is closed. Somebody has to run it beside those who
    /// use the pool.
    pub(crate) async fn keep(&self) {
        while let Some(due) = self.next_check().await {
            let shelf = self.shelf.lock().await;
            let closed = self.changed.wait_while(shelf, |shelf| !shelf.closed);
            if timeout_at(due, closed).await.is_err() {
                self.check_oldest().await;
            }
        }
    }

    /// When the next check is due, as soon as a connection is idle. `None`: the pool is closed.
    async fn next_check(&self) -> Option<Instant> {
        let shelf = self.shelf.lock().await;
        let nothing_to_do = |shelf: &mut Shelf| shelf.idle.is_empty() && !shelf.closed;
        let shelf = self.changed.wait_while(shelf, nothing_to_do).await;
        shelf.idle.front().map(|oldest| self.due(oldest))
    }

    fn due(&self, connection: &Connection) -> Instant {
        connection.good_at + self.settings.check_after
    }

    /// Asks the connection that has been idle for longest whether it still works. If it does not it is gone.
    async fn check_oldest(&self) {
        // As everybody else, or there might be one connection more than places.
        let place = self.places.acquire().await;
        let mut shelf = self.shelf.lock().await;
        // Somebody may have used it meanwhile.
        let is_due = |oldest: &Connection| self.due(oldest) <= Instant::now();
        if !shelf.idle.front().is_some_and(is_due) {
            return;
        }
        let Some(mut connection) = shelf.idle.pop_front() else {
            return;
        };
        drop(shelf);
        let answer = timeout(self.settings.patience, connection.ask("ping")).await;
        if matches!(answer, Ok(Ok(answer)) if answer == "pong") {
            self.put_back(place, connection).await;
        }
    }

    /// The idle connection that was used last, of those that are not broken. The caller has a place.
    async fn take_idle(&self) -> io::Result<Option<Connection>> {
        let mut shelf = self.shelf.lock().await;
        if shelf.closed {
            return Err(io::Error::new(
                ErrorKind::NotConnected,
                "the pool is closed",
            ));
        }
        while let Some(connection) = shelf.idle.pop_back() {
            if connection.is_quiet().await {
                return Ok(Some(connection));
            }
        }
        Ok(None)
    }

    /// Opens a connection. The caller has a place.
    async fn connect(&self) -> io::Result<Connection> {
        let connect = TcpStream::connect(self.address);
        let stream = timeout(self.settings.patience, connect).await??;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Connection {
            stream: BufReader::new(stream),
            good_at: Instant::now(),
        })
    }

    /// Puts a connection down that works, and then frees its place: what is named first is dropped last.
    async fn put_back(&self, _place: Permit<'_>, mut connection: Connection) {
        connection.good_at = Instant::now();
        let mut shelf = self.shelf.lock().await;
        if !shelf.closed {
            shelf.idle.push_back(connection);
            self.changed.notify_one();
        }
    }

    /// How many connections it has opened.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// How many places are free.
    #[allow(dead_code, reason = "the tests ask")]
    pub(crate) fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// How many connections are idle.
    #[allow(dead_code, reason = "the tests ask")]
    pub(crate) async fn idle(&self) -> usize {
        self.shelf.lock().await.idle.len()
    }
}

/// A connection, on which one asks and the server answers.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    /// When it was last known to work.
    good_at: Instant,
}

impl Connection {
    /// Sends a line, and waits for the answer.
    pub(crate) async fn ask(&mut self, line: &str) -> io::Result<String> {
        let line = format!("{line}\n");
        self.stream.get_mut().write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer).await?;
        match answer.strip_suffix('\n') {
            Some(answer) => Ok(answer.to_owned()),
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Whether the other side has neither closed it nor said something that nobody has asked for, as far as is known here. It
    /// does not wait.
    async fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let peeked = poll_once(self.stream.get_ref().peek(&mut byte)).await;
        peeked.is_none() && self.stream.buffer().is_empty()
    }
}
