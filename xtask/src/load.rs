//! `load`: the HTTP example under `wrk`, with idle keep-alive connections beside it that this process holds.
//!
//! Fails unless nothing was lost: no error at any client, memory that stays where it is, every idle connection still
//! answered, every descriptor closed, and a stop in the middle of a load that answers what it has begun.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::process::Outcome;
use crate::project::{number, take_option};
use crate::server::{Server, finish, holds, with_more_files, wrk};

const IDLE: usize = 10_000;

/// What a server may grow by while it is under load: an allocator's fragments.
const GROWTH_KB: u64 = 2 * 1024;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut rest = words.to_vec();
    let seconds = take_option(&mut rest, "--seconds")?.map_or(Ok(30), number::<u64>)?;
    if !rest.is_empty() || seconds < 10 {
        return Err("usage: cargo xtask load [--seconds N], at least 10".to_owned());
    }
    with_more_files("load", words, || load(seconds))
}

fn load(seconds: u64) -> Outcome {
    let server = Server::start(Stdio::inherit(), "", &[])?;
    let before = server.files()?;

    let resident = server.resident()?;
    let mut idle = connect(server.address)?;
    let grown = server.resident()?.saturating_sub(resident);
    println!(
        "{IDLE} idle connections: {} bytes each",
        grown * 1024 / IDLE as u64
    );

    let load = wrk(server.address, "/", 64, seconds)?;
    thread::sleep(Duration::from_secs(5));
    let early = server.resident()?;
    thread::sleep(Duration::from_millis(seconds * 1000 - 5500));
    let late = server.resident()?;
    let report = finish(load)?;
    println!("{report}");
    println!("memory after 5 s: {early} kB, at the end: {late} kB");
    holds(late <= early + GROWTH_KB, "the server grew")?;

    let answering = idle.iter_mut().map(ask).filter(Result::is_ok).count();
    println!("idle connections that still answer: {answering} of {IDLE}");
    holds(answering == IDLE, "an idle connection was lost")?;
    drop(idle);
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.files()? > before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    println!("descriptors: {before} before, {} after", server.files()?);
    holds(server.files()? == before, "descriptors were left open")?;

    // It ends in the middle of this one.
    let _load = wrk(server.address, "/sleep?ms=20", 64, 4)?;
    thread::sleep(Duration::from_secs(2));
    let (started, answered) = server.stop()?;
    holds(started == answered, "a request was lost")
}

/// Connections that have had one answer.
fn connect(address: SocketAddr) -> Outcome<Vec<TcpStream>> {
    let one = |_| {
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        ask(&mut stream).map(|()| stream)
    };
    (0..IDLE).map(one).collect()
}

fn ask(stream: &mut TcpStream) -> Outcome {
    let mut answer = [0; 1024];
    let limit = Some(Duration::from_secs(10));
    let read = stream
        .set_read_timeout(limit)
        .and_then(|()| stream.write_all(GET))
        .and_then(|()| stream.read(&mut answer))
        .map_err(|error| format!("an idle connection: {error}"))?;
    holds(answer[..read].starts_with(b"HTTP/1.1 200"), "no answer")
}
