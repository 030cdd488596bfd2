//! `load`: the HTTP example under `wrk`, with idle keep-alive connections beside it that this process holds.
//!
//! Fails unless nothing was lost: no error at any client, memory that stays where it is, every idle connection still
//! answered, every descriptor closed, and a stop in the middle of a load that answers what it has begun.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{self, Outcome, Owned};
use crate::project::{self, cargo, number, take_option};
use crate::tools::Tool;

const IDLE: usize = 10_000;

/// What a server may grow by while it is under load: an allocator's fragments.
const GROWTH_KB: u64 = 2 * 1024;

/// Set in the process that may open as many files as it needs.
const UNLIMITED: &str = "HEIST_LOAD_UNLIMITED";

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(crate) fn run(words: &[&str]) -> Outcome {
    if env::var_os(UNLIMITED).is_none() {
        return with_more_files(words);
    }
    let mut rest = words.to_vec();
    let seconds = take_option(&mut rest, "--seconds")?.map_or(Ok(30), number::<u64>)?;
    if !rest.is_empty() || seconds < 10 {
        return Err("usage: cargo xtask load [--seconds N], at least 10".to_owned());
    }
    Tool::Wrk.provide(false)?;
    process::show(&mut cargo(
        "build --quiet --release -p heist-examples --example http_server",
    ))?;
    let server = Server::start()?;
    let before = server.files()?;

    let resident = server.resident()?;
    let mut idle = connect(server.address)?;
    let grown = server.resident()?.saturating_sub(resident);
    println!(
        "{IDLE} idle connections: {} bytes each",
        grown * 1024 / IDLE as u64
    );

    let load = wrk(server.address, "/", seconds)?;
    thread::sleep(Duration::from_secs(5));
    let early = server.resident()?;
    thread::sleep(Duration::from_millis(seconds * 1000 - 5500));
    let late = server.resident()?;
    let report = finish(load)?;
    println!("{report}");
    println!("memory after 5 s: {early} kB, at the end: {late} kB");
    holds(
        !report.contains("errors") && !report.contains("Non-2xx"),
        "wrk saw errors",
    )?;
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

    let load = wrk(server.address, "/sleep?ms=20", 4)?;
    thread::sleep(Duration::from_secs(2));
    server.stop()?;
    drop(finish(load)?);
    Ok(())
}

/// Runs this program again where the limit of open files is as high as the system allows.
fn with_more_files(words: &[&str]) -> Outcome {
    let own = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -n \"$(ulimit -Hn)\" && exec \"$0\" load \"$@\"",
        ])
        .arg(own)
        .args(words)
        .env(UNLIMITED, "1");
    process::show(&mut command)
}

fn holds(kept: bool, otherwise: &str) -> Outcome {
    if kept {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}

struct Server {
    process: Owned,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start() -> Outcome<Self> {
        let program = project::target("release/examples/http_server");
        let mut command = Command::new(program);
        command.args(["--port", "0"]).stdout(Stdio::piped());
        let mut process = Owned::spawn(&mut command)?;
        let output = process.0.stdout.take().ok_or("the server has no output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| format!("the server says: {line}"))?;
        Ok(Self {
            process,
            output,
            address,
        })
    }

    /// Resident memory, in kB.
    fn resident(&self) -> Outcome<u64> {
        let status = project::read(format!("/proc/{}/status", self.process.0.id()).as_ref())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        number.ok_or_else(|| "the system does not say how much memory is resident".to_owned())
    }

    fn files(&self) -> Outcome<usize> {
        let folder = format!("/proc/{}/fd", self.process.0.id());
        let entries = fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
        Ok(entries.count())
    }

    /// Asks it to stop, and reads what it says.
    fn stop(mut self) -> Outcome {
        let begun = Instant::now();
        let id = self.process.0.id().to_string();
        process::show(Command::new("kill").args(["-TERM", &id]))?;
        let mut text = String::new();
        self.output
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        let status = self.process.0.wait().map_err(|error| error.to_string())?;
        println!("{text}stopped after {:.2?} with {status}", begun.elapsed());
        let counts = text
            .lines()
            .find_map(|line| line.strip_prefix("requests: "));
        let counts: Vec<&str> = counts.unwrap_or_default().split([' ', ',']).collect();
        let [started, "started", "", answered, "answered"] = counts[..] else {
            return Err("the server does not say what it answered".to_owned());
        };
        holds(
            status.success() && started == answered,
            "a request was lost",
        )
    }
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

fn wrk(address: SocketAddr, path: &str, seconds: u64) -> Outcome<Owned> {
    let time = format!("-d{seconds}s");
    let url = format!("http://{address}{path}");
    Owned::spawn(
        Command::new("wrk")
            .args(["-t2", "-c64", "--latency", &time, &url])
            .stdout(Stdio::piped()),
    )
}

fn finish(mut load: Owned) -> Outcome<String> {
    let mut text = String::new();
    let output = load.0.stdout.as_mut().ok_or("wrk has no output")?;
    output
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    Ok(text)
}
