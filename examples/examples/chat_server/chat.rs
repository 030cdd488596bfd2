//! Rooms and the clients in them.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_lite::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use futures_lite::{StreamExt, future};
use heist::net::TcpStream;
use heist::sync::broadcast::{self, RecvError};
use heist::task::catch_cancel;
use heist::time::timeout;

/// Lines that a room keeps for those who are slow.
const ROOM: usize = 64;

/// Where everybody comes in.
const LOBBY: &str = "lobby";

/// The rooms in which somebody is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms(Arc<Mutex<HashMap<String, broadcast::Sender<Arc<str>>>>>);

impl Rooms {
    fn enter(&self, name: &str) -> Visit {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, receiver) = match rooms.get(name) {
            Some(sender) => (sender.clone(), sender.subscribe()),
            None => {
                let (sender, receiver) = broadcast::channel(ROOM);
                rooms.insert(name.to_owned(), sender.clone());
                (sender, receiver)
            }
        };
        Visit {
            rooms: self.clone(),
            name: name.to_owned(),
            sender,
            receiver: Some(receiver),
        }
    }

    /// How many there are.
    #[allow(dead_code, reason = "the tests ask")]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Somebody is in a room. When the last one leaves, the room is gone.
struct Visit {
    rooms: Rooms,
    name: String,
    sender: broadcast::Sender<Arc<str>>,
    receiver: Option<broadcast::Receiver<Arc<str>>>,
}

impl Visit {
    fn say(&self, line: String) {
        // Whoever is in the room receives.
        let _ = self.sender.send(line.into());
    }

    async fn heard(&mut self) -> Result<Arc<str>, RecvError> {
        match &mut self.receiver {
            Some(receiver) => receiver.recv().await,
            None => Err(RecvError::Closed),
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut rooms = self.rooms.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.receiver = None;
        if self.sender.receiver_count() == 0 {
            rooms.remove(&self.name);
        }
    }
}

/// Serves one client, until it leaves or the server stops.
pub(crate) async fn client(stream: TcpStream, rooms: Rooms) {
    match catch_cancel(talk(&stream, &rooms)).await {
        Ok(Ok(())) => {}
        // It is gone, whatever it was.
        Ok(Err(error)) => eprintln!("a client: {error}"),
        Err(cancelled) => {
            let mut output = &stream;
            let goodbye = output.write_all(b"* the server stops\n");
            // A client that does not read keeps nobody.
            let _ = timeout(Duration::from_secs(1), goodbye).await;
            cancelled.resume().await
        }
    }
}

async fn talk(stream: &TcpStream, rooms: &Rooms) -> io::Result<()> {
    let (mut lines, mut output) = (BufReader::new(stream).lines(), stream);
    output.write_all(b"* your name?\n").await?;
    let Some(name) = lines.next().await.transpose()? else {
        return Ok(());
    };
    let mut room = rooms.enter(LOBBY);
    room.say(format!("* {name} comes in\n"));
    loop {
        match either(lines.next(), room.heard()).await {
            Either::First(line) => {
                let line = line.transpose()?;
                match line.as_deref().map(|line| (line, line.split_once(' '))) {
                    None | Some(("/quit", _)) => {
                        room.say(format!("* {name} leaves\n"));
                        return Ok(());
                    }
                    Some((_, Some(("/join", other)))) => {
                        room.say(format!("* {name} goes to {other}\n"));
                        room = rooms.enter(other);
                        room.say(format!("* {name} comes in\n"));
                    }
                    Some((line, _)) => room.say(format!("{name}: {line}\n")),
                }
            }
            Either::Second(Ok(line)) => output.write_all(line.as_bytes()).await?,
            Either::Second(Err(RecvError::Lagged(count))) => {
                let missed = format!("* you have missed {count} lines\n");
                output.write_all(missed.as_bytes()).await?;
            }
            Either::Second(Err(RecvError::Closed)) => return Ok(()),
        }
    }
}

enum Either<A, B> {
    First(A),
    Second(B),
}

/// Waits for one of two futures, neither of which loses anything if it is dropped.
async fn either<A: Future, B: Future>(first: A, second: B) -> Either<A::Output, B::Output> {
    let (first, second) = (pin!(first), pin!(second));
    future::or(async { Either::First(first.await) }, async {
        Either::Second(second.await)
    })
    .await
}
