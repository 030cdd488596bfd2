//! Bytes over sockets and pipes.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;

use futures_io::{AsyncRead, AsyncWrite};
use heist::io::Async;
use heist::net::{TcpListener, TcpStream, UnixStream};

use crate::oracle::World;
use crate::program::Stream;

/// Sends bytes from a task of its own to this one, which checks them.
pub(crate) async fn exchange(world: &Arc<World>, kind: Stream, bytes: u32) {
    let bytes = bytes as usize;
    let result = match kind {
        Stream::Unix => unix(world, bytes).await,
        Stream::Tcp => tcp(world, bytes).await,
        Stream::Pipe => pipe(world, bytes).await,
    };
    match result {
        // A runtime that ends takes its sockets with it.
        Err(error) if !world.is_closing() => world.fail(&format!("{kind:?}: {error}")),
        _ => {}
    }
}

async fn unix(world: &World, bytes: usize) -> io::Result<()> {
    let (reader, writer) = UnixStream::pair()?;
    let sender = heist::spawn(send(writer, bytes));
    let got = receive(world, reader).await?;
    check(world, got, bytes, sender).await
}

async fn tcp(world: &World, bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let sender = heist::spawn(async move {
        let stream = TcpStream::connect(address).await?;
        send(stream, bytes).await
    });
    let (stream, _) = listener.accept().await?;
    let got = receive(world, stream).await?;
    check(world, got, bytes, sender).await
}

async fn pipe(world: &World, bytes: usize) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let (reader, writer) = (Async::new(reader)?, Async::new(writer)?);
    let sender = heist::spawn(async move {
        let mut sent = 0;
        while sent < bytes {
            let part = pattern(sent, bytes);
            sent += writer.write_with(|mut pipe| pipe.write(&part)).await?;
        }
        Ok(())
    });
    let mut buffer = vec![0; CHUNK];
    let mut got = 0;
    loop {
        let count = reader.read_with(|mut pipe| pipe.read(&mut buffer)).await?;
        if count == 0 {
            return check(world, got, bytes, sender).await;
        }
        verify(world, got, &buffer[..count]);
        got += count;
    }
}

/// All must have come, unless the sender was cancelled.
async fn check<F>(world: &World, got: usize, bytes: usize, sender: F) -> io::Result<()>
where
    F: Future<Output = Result<io::Result<()>, heist::TaskError>>,
{
    let sent = sender.await;
    if matches!(sent, Ok(Ok(()))) && got != bytes {
        world.fail(&format!("{got} bytes of {bytes} have come"));
    }
    sent.unwrap_or(Ok(()))
}

const CHUNK: usize = 8 * 1024;

fn pattern(from: usize, to: usize) -> Vec<u8> {
    (from..to.min(from + CHUNK)).map(byte).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder below 251")]
fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

fn verify(world: &World, from: usize, bytes: &[u8]) {
    let right = bytes.iter().zip(from..).all(|(got, at)| *got == byte(at));
    if !right {
        world.fail(&format!("wrong bytes at {from}"));
    }
}

async fn send<S: AsyncWrite + Unpin>(mut stream: S, bytes: usize) -> io::Result<()> {
    let mut sent = 0;
    while sent < bytes {
        let part = pattern(sent, bytes);
        sent += poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &part)).await?;
    }
    poll_fn(|cx| Pin::new(&mut stream).poll_close(cx)).await
}

async fn receive<S: AsyncRead + Unpin>(world: &World, mut stream: S) -> io::Result<usize> {
    let mut buffer = vec![0; CHUNK];
    let mut got = 0;
    loop {
        let count = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buffer)).await?;
        if count == 0 {
            return Ok(got);
        }
        verify(world, got, &buffer[..count]);
        got += count;
    }
}
