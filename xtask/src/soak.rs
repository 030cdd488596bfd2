//! `soak`: the HTTP example for a long time under everything that clients do to a server.
//!
//! Each round has a load that changes, clients that read and write slowly, clients that reset or leave, and storms of a
//! signal. Between two rounds it is quiet. Fails unless every client that waited was answered, the server complained of
//! nothing, no descriptor was left open, and memory stays where it was.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Outcome, Owned};
use crate::project::{number, take_option};
use crate::server::{Server, finish, holds, with_more_files, wrk};

/// The load of a round: how many connections ask for what.
const PHASES: [(usize, &str); 7] = [
    (1, "/"),
    (64, "/"),
    (16, "/tasks"),
    (1000, "/sleep?ms=50"),
    (64, "/hash?n=100"),
    (1000, "/"),
    (16, "/sleep?ms=0"),
];

const PHASE_SECONDS: u64 = 6;

type Client = fn(SocketAddr) -> io::Result<()>;

/// What else there is, each this many times at once, over and over.
const CLIENTS: [(&str, usize, Client); 5] = [
    ("who reads slowly", 8, reads_slowly),
    ("who writes slowly", 8, writes_slowly),
    ("who resets", 4, resets),
    ("who resets in the middle of an answer", 4, resets_midway),
    ("who leaves", 2, leaves),
];

/// Signals of a storm.
const STORM: usize = 1000;

/// How much more the server may have allocated at most between two rounds of the last third than between two of the first.
const GROWTH: u64 = 64 * 1024;

/// How much more of it may be resident. From round to round it goes up and down by twice that: arenas of the allocator, and how many
/// connections were busy at once.
const GROWTH_KB: u64 = 2 * 1024;

/// Glibc gives up to eight arenas a processor to threads, each with a high-water mark of its own, which a thread that stands in for a
/// moment leaves behind: it takes an hour until each has had its worst moment. That is not what is looked for here.
const ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "2");

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut rest = words.to_vec();
    let seconds = take_option(&mut rest, "--seconds")?.map_or(Ok(1800), number::<u64>)?;
    if !rest.is_empty() {
        return Err("usage: cargo xtask soak [--seconds N]".to_owned());
    }
    with_more_files("soak", words, || soak(Duration::from_secs(seconds)))
}

fn soak(time: Duration) -> Outcome {
    let mut server = Server::start(Stdio::piped(), "count-memory", &[ARENAS])?;
    let errors = server.errors().ok_or("the server has no standard error")?;
    let listed = thread::spawn(|| listed(errors));
    let before = quiet(&server)?;
    let begun = Instant::now();
    let (mut allocated, mut resident) = (Vec::new(), Vec::new());
    while allocated.len() < 3 || begun.elapsed() < time {
        let exchanges = busy(&server)?;
        let deadline = Instant::now() + PATIENCE;
        while quiet(&server)? > before && Instant::now() < deadline {}
        let files = quiet(&server)?;
        holds(files == before, "descriptors were left open")?;
        allocated.push(server.allocated()?);
        resident.push(server.resident()?);
        println!(
            "{} s: {exchanges} exchanges besides wrk's; {files} descriptors, {} bytes allocated, {} kB resident",
            begun.elapsed().as_secs(),
            allocated[allocated.len() - 1],
            resident[resident.len() - 1],
        );
    }
    let (started, answered) = server.stop()?;
    holds(answered <= started, "more answers than requests")?;
    let tasks = listed.join().map_err(|_| "a panic")??;
    println!("{tasks} lines about tasks, and nothing else, on the server's standard error");

    let (early, late) = thirds(&allocated);
    println!(
        "at most {early} bytes allocated in the first third of the rounds, {late} in the last"
    );
    holds(
        late <= early + GROWTH,
        "the server has allocated more and more",
    )?;
    let (early, late) = thirds(&resident);
    println!("at most {early} kB resident in the first third of the rounds, {late} kB in the last");
    holds(late <= early + GROWTH_KB, "the server grew")
}

/// The most in the first third, and in the last.
fn thirds(rounds: &[u64]) -> (u64, u64) {
    let most = |rounds: &[u64]| rounds.iter().copied().max().unwrap_or(0);
    let third = rounds.len() / 3;
    (
        most(&rounds[..third]),
        most(&rounds[rounds.len() - third..]),
    )
}

/// The descriptors of a server that has nothing to do. It looks at its own threads now and then, and opens files for that.
fn quiet(server: &Server) -> Outcome<usize> {
    let mut least = server.files()?;
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(20));
        least = least.min(server.files()?);
    }
    Ok(least)
}

/// One round. Returns how often a client did what it does.
fn busy(server: &Server) -> Outcome<u64> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = CLIENTS
            .iter()
            .flat_map(|kind| std::iter::repeat_n(kind, kind.1))
            .map(|(name, _, client)| {
                let over = &over;
                scope.spawn(move || repeat(name, *client, server.address, over))
            })
            .collect();
        let storms = scope.spawn(|| storm(server.id(), &over));
        let load = PHASES.iter().try_for_each(|(connections, path)| {
            finish(wrk(server.address, path, *connections, PHASE_SECONDS)?).map(drop)
        });
        over.store(true, Ordering::Relaxed);
        load?;
        storms.join().map_err(|_| "a panic")??;
        let mut exchanges = 0;
        for client in clients {
            exchanges += client.join().map_err(|_| "a panic")??;
        }
        Ok(exchanges)
    })
}

fn repeat(name: &str, client: Client, server: SocketAddr, over: &AtomicBool) -> Outcome<u64> {
    let mut times = 0;
    while !over.load(Ordering::Relaxed) {
        client(server).map_err(|error| format!("a client {name}: {error}"))?;
        times += 1;
        // The system has few ports, and keeps those of a connection that is closed for a minute.
        thread::sleep(Duration::from_millis(20));
    }
    Ok(times)
}

/// Sends the signal that has the server list its tasks, many times and as fast as it goes, now and then.
fn storm(server: u32, over: &AtomicBool) -> Outcome {
    let script = "i=0; while [ $i -lt $1 ]; do kill -USR1 $0 || exit 1; i=$((i + 1)); done";
    while !over.load(Ordering::Relaxed) {
        let mut signals = Owned::spawn(Command::new("sh").args([
            "-c",
            script,
            &server.to_string(),
            &STORM.to_string(),
        ]))?;
        let status = signals.0.wait().map_err(|error| error.to_string())?;
        holds(status.success(), "the server cannot be signalled")?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Reads the server's standard error to its end: the tasks that it lists, and nothing else.
fn listed(errors: ChildStderr) -> Outcome<u64> {
    let (mut tasks, mut complaints) = (0, 0);
    // To the end in any case: a server whose complaints nobody reads blocks.
    for line in BufReader::new(errors).lines() {
        let line = line.map_err(|error| error.to_string())?;
        if line.starts_with("task ") {
            tasks += 1;
        } else {
            println!("the server says: {line}");
            complaints += 1;
        }
    }
    holds(complaints == 0, "the server complained")?;
    Ok(tasks)
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// `times` requests, of which the last one says that it is.
fn requests(path: &str, times: usize) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: soak\r\n");
    format!("{request}\r\n").repeat(times - 1) + &request + "connection: close\r\n\r\n"
}

fn all_answered(answers: &[u8], times: usize) -> io::Result<()> {
    let text = String::from_utf8_lossy(answers);
    let found = text.matches("HTTP/1.1 200 OK").count();
    if found == times {
        Ok(())
    } else {
        Err(io::Error::other(format!("{found} answers of {times}")))
    }
}

/// Asks for more than the system keeps for a connection, and takes its time to read it.
fn reads_slowly(server: SocketAddr) -> io::Result<()> {
    const TIMES: usize = 40;
    let mut stream = connect(server)?;
    stream.write_all(requests("/tasks", TIMES).as_bytes())?;
    let (mut all, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        match stream.read(&mut part)? {
            0 => return all_answered(&all, TIMES),
            count => all.extend_from_slice(&part[..count]),
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Byte by byte.
fn writes_slowly(server: SocketAddr) -> io::Result<()> {
    let mut stream = connect(server)?;
    stream.set_nodelay(true)?;
    for byte in requests("/", 2).as_bytes() {
        stream.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(5));
    }
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    all_answered(&all, 2)
}

/// Closes before it has read the answer, which makes it a reset.
fn resets(server: SocketAddr) -> io::Result<()> {
    let mut stream = connect(server)?;
    stream.write_all(requests("/", 3).as_bytes())?;
    stream.peek(&mut [0]).map(drop)
}

/// As `resets`, while the server still writes.
fn resets_midway(server: SocketAddr) -> io::Result<()> {
    let mut stream = connect(server)?;
    stream.write_all(requests("/tasks", 1000).as_bytes())?;
    stream.read_exact(&mut [0; 1 << 10])
}

/// With half a request, or none.
fn leaves(server: SocketAddr) -> io::Result<()> {
    drop(connect(server)?);
    connect(server)?.write_all(b"GET / HT")
}
