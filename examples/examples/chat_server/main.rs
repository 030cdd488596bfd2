//! A chat over TCP, with rooms: what one sends, all in the room get.
//!
//! ```text
//! cargo run --example chat_server -- 7000
//! nc localhost 7000
//!
//! cargo run --example chat_server -- 0 --demo    # one client comes, talks, and goes
//! ```
//!
//! The first line is a name. `/join ROOM` goes to another room, `/quit` leaves, and anything else is said. Whoever reads too slowly
//! misses lines, and is told how many, so that nobody waits for anybody. SIGTERM says goodbye to all.

#![expect(
    clippy::print_stdout,
    reason = "the output is what this program is for"
)]

mod chat;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_lite::StreamExt;
use futures_lite::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use heist::net::{TcpListener, TcpStream};
use heist::task::TaskGroup;
use heist::time::sleep;

use chat::{Rooms, client};

#[heist::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .map_or(Ok(7000), |port| port.parse())?;
    let demo = std::env::args().any(|word| word == "--demo");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    println!("listening on {address}");
    let rooms = Rooms::default();
    let chat = TaskGroup::run(async |clients| {
        let group = clients.clone();
        clients.named("terminated").spawn(async move {
            terminated().await?;
            group.cancel();
            Ok::<_, std::io::Error>(())
        })?;
        if demo {
            let group = clients.clone();
            clients.named("demo").spawn(async move {
                talk(address).await?;
                group.cancel();
                Ok::<_, std::io::Error>(())
            })?;
        }
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let talks = client(stream, rooms.clone());
                    clients.named(address.to_string()).spawn(talks)?;
                }
                // No descriptor is left, say: somebody may go.
                Err(error) => {
                    eprintln!("{error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    match chat.await {
        Err(error) if !error.is_cancelled() => Err(error.into()),
        Ok(()) | Err(_) => {
            println!("everybody has gone");
            Ok(())
        }
    }
}

/// A client that says something, and shows what it hears.
async fn talk(address: SocketAddr) -> std::io::Result<()> {
    let stream = TcpStream::connect(address).await?;
    let (mut heard, mut output) = (BufReader::new(&stream).lines(), &stream);
    for line in ["guest", "hello", "/quit"] {
        if let Some(heard) = heard.next().await {
            println!("{}", heard?);
        }
        output.write_all(format!("{line}\n").as_bytes()).await?;
    }
    while let Some(Ok(line)) = heard.next().await {
        println!("{line}");
    }
    Ok(())
}

#[cfg(unix)]
async fn terminated() -> std::io::Result<()> {
    use heist::signal::{SignalKind, signal};
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

#[cfg(not(unix))]
async fn terminated() -> std::io::Result<()> {
    std::future::pending().await
}
