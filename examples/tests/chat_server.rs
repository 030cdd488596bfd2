//! The chat, from its clients' side; and that a client that is cancelled at any await leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(unix)]

#[path = "../examples/chat_server/chat.rs"]
mod chat;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use chat::{Rooms, client};
use futures_lite::{AsyncBufReadExt, AsyncWriteExt, StreamExt};
use support::{Cut, Program, example};

struct Client {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr, name: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        let mut client = Self { stream, lines };
        client.hears("* your name?");
        client.says(name);
        client.hears(&format!("* {name} comes in"));
        client
    }

    fn says(&mut self, line: &str) {
        // In one piece, which the system sends at once.
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn hears(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }
}

fn start() -> (Program, SocketAddr) {
    let mut server = Program::start(example("chat_server").arg("0"));
    let address = server
        .line()
        .trim()
        .strip_prefix("listening on ")
        .unwrap()
        .parse();
    (server, address.unwrap())
}

#[test]
fn what_one_says_all_in_the_room_hear_and_nobody_else() {
    let (server, address) = start();
    let mut ann = Client::connect(address, "ann");
    let mut bob = Client::connect(address, "bob");
    ann.hears("* bob comes in");
    let mut eve = Client::connect(address, "eve");
    ann.hears("* eve comes in");
    bob.hears("* eve comes in");
    eve.says("/join cellar");
    for client in [&mut ann, &mut bob] {
        client.hears("* eve goes to cellar");
    }
    // She may hear that she goes, or be in the other room by then.
    let first = eve.line();
    if first != "* eve comes in" {
        assert_eq!(first, "* eve goes to cellar");
        eve.hears("* eve comes in");
    }
    ann.says("hello");
    for client in [&mut ann, &mut bob] {
        client.hears("ann: hello");
    }
    eve.says("echo");
    eve.hears("eve: echo");
    bob.says("/quit");
    ann.hears("* bob leaves");
    // One that goes without a word.
    drop(eve);
    let id = server.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    ann.hears("* the server stops");
    assert_eq!(ann.line(), "");
    let (output, status) = server.finish();
    assert_eq!(output.trim(), "everybody has gone");
    assert!(status.success());
}

#[test]
fn who_does_not_read_keeps_nobody_from_talking_and_is_told_what_it_missed() {
    let (server, address) = start();
    let mut slow = Client::connect(address, "slow");
    let mut fast = Client::connect(address, "fast");
    // More than the buffers of the system and the room together.
    let long = "x".repeat(10_000);
    let count = 3_000;
    for _ in 0..count {
        fast.says(&long);
        assert!(fast.line().ends_with(&long));
    }
    fast.says("over");
    fast.hears("fast: over");
    let mut missed = 0;
    let mut heard = 0;
    slow.hears("* fast comes in");
    loop {
        let line = slow.line();
        if let Some(rest) = line.strip_prefix("* you have missed ") {
            missed += rest.split(' ').next().unwrap().parse::<i32>().unwrap();
        } else if line == "fast: over" {
            break;
        } else {
            heard += 1;
        }
    }
    assert!(missed > 0);
    assert_eq!(missed + heard, count);
    drop(server);
}

#[test]
fn a_client_that_is_dropped_at_any_await_leaves_no_room_and_no_receiver() {
    // One thread: each answer takes another poll.
    let runtime = heist::LocalRuntime::new().unwrap();
    let (mut over, mut times) = (false, 0);
    while !over {
        over = runtime.block_on(async {
            let rooms = Rooms::default();
            let listener = heist::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let script = heist::spawn_local(async move {
                let stream = heist::net::TcpStream::connect(address).await.unwrap();
                let (mut answers, mut stream) = (lines(&stream), &stream);
                for line in ["me", "hello", "/join cellar", "hello again", "/quit"] {
                    // Until something is answered, or the other end is gone.
                    let _ = answers.next().await;
                    let _ = stream.write_all(format!("{line}\n").as_bytes()).await;
                }
                let _ = answers.next().await;
            });
            let (stream, _) = listener.accept().await.unwrap();
            let client = client(stream, rooms.clone());
            let over = Cut::Dropped.after(times, client).await.is_some();
            assert_eq!(rooms.len(), 0);
            script.await.unwrap();
            over
        });
        times += 1;
    }
    assert!(times > 5, "it waited {times} times");
}

fn lines(
    stream: &heist::net::TcpStream,
) -> impl futures_lite::Stream<Item = std::io::Result<String>> {
    futures_lite::io::BufReader::new(stream).lines()
}
