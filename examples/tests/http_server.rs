//! The server, from its clients' side: what it answers, and that a stop loses nothing.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{Program, example};

#[test]
fn every_path_answers_over_one_connection() {
    let (server, address) = start(&mut example("http_server"));
    let mut client = Client::connect(address);
    assert_eq!(client.get("/"), (200, "Hello from heist\n".into()));
    assert_eq!(client.get("/sleep?ms=5"), (200, "slept 5 ms\n".into()));
    let (status, hash) = client.get("/hash?n=1");
    // SHA-256 of 32 zero bytes.
    assert_eq!(
        (status, hash.trim()),
        (
            200,
            "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
        )
    );
    let (status, tasks) = client.get("/tasks");
    let tasks: serde_json::Value = serde_json::from_str(&tasks).unwrap();
    let connection = tasks
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["name"] == "connection")
        .unwrap();
    assert_eq!((status, &connection["state"]), (200, &"pending".into()));
    assert!(
        connection["location"]
            .as_str()
            .unwrap()
            .contains("serve.rs:")
    );
    assert!(connection["age_ms"].is_u64() && connection["id"].is_string());
    assert_eq!(client.get("/sleep?ms=soon").0, 400);
    assert_eq!(client.get("/nowhere").0, 404);
    drop(client);
    let (output, ok) = stop(server, "TERM");
    assert!(
        ok && output.contains("requests: 6 started, 6 answered"),
        "{output}"
    );
}

#[test]
fn an_answer_without_a_body_counts_as_answered() {
    let (server, address) = start(&mut example("http_server"));
    let mut client = Client::connect(address);
    client.send_as("HEAD", "/");
    client.send("/nowhere");
    let mut answers = String::new();
    while !answers.ends_with("nothing at /nowhere\n") {
        assert_ne!(client.stream.read_line(&mut answers).unwrap(), 0);
    }
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    assert!(answers.contains("content-length: 17"), "{answers}");
    assert!(!answers.contains("Hello"), "{answers}");
    client.send_as("POST", "/");
    assert_eq!(client.receive().unwrap().0, 405);
    let (output, ok) = stop(server, "TERM");
    assert!(
        ok && output.contains("requests: 3 started, 3 answered"),
        "{output}"
    );
}

#[test]
fn a_stop_ends_in_time_while_clients_crowd_in() {
    let (server, address) = start(example("http_server").args(["--grace", "1"]));
    let over = Arc::new(AtomicUsize::new(0));
    let crowd: Vec<_> = (0..8)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while over.load(Ordering::SeqCst) == 0 {
                    drop(TcpStream::connect(address));
                }
            })
        })
        .collect();
    let begun = Instant::now();
    let (output, ok) = stop(server, "TERM");
    over.store(1, Ordering::SeqCst);
    crowd.into_iter().for_each(|client| client.join().unwrap());
    assert!(ok, "{output}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{output}");
}

#[test]
fn a_stop_in_mid_load_answers_every_request_that_it_has_read() {
    let (server, address) = start(&mut example("http_server"));
    let begun = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let begun = Arc::clone(&begun);
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut answered = 0;
                loop {
                    client.send("/sleep?ms=30");
                    begun.fetch_add(1, Ordering::SeqCst);
                    // The server closes between two requests, never within an answer.
                    match client.receive() {
                        Some((200, text)) => assert_eq!(text, "slept 30 ms\n"),
                        Some(other) => panic!("{other:?}"),
                        None => return answered,
                    }
                    answered += 1;
                }
            })
        })
        .collect();
    while begun.load(Ordering::SeqCst) < 64 {
        thread::yield_now();
    }
    let (output, ok) = stop(server, "TERM");
    let answered: usize = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    assert!(ok, "{output}");
    let expected = format!("requests: {answered} started, {answered} answered");
    assert!(output.contains(&expected), "{expected}\n{output}");
}

#[test]
fn an_interrupt_closes_idle_connections_at_once() {
    let (server, address) = start(example("http_server").args(["--grace", "15"]));
    let mut client = Client::connect(address);
    assert_eq!(client.get("/").0, 200);
    let (output, ok) = stop(server, "INT");
    assert!(
        ok && output.contains("requests: 1 started, 1 answered"),
        "{output}"
    );
    assert!(client.receive().is_none());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_signal_has_the_server_list_its_tasks() {
    let mut command = example("http_server");
    let (mut server, address) = start(command.stderr(Stdio::piped()));
    let mut client = Client::connect(address);
    assert_eq!(client.get("/").0, 200);
    send(&server, "USR1");
    let mut lines = server.errors().lines().map(Result::unwrap);
    let ours = lines.find(|line| line.contains("\"connection\" pending"));
    assert!(ours.unwrap().contains("serve.rs:"));
    assert_eq!(client.get("/").0, 200);
    drop(client);
    let (output, ok) = stop(server, "TERM");
    assert!(
        ok && output.contains("requests: 2 started, 2 answered"),
        "{output}"
    );
}

#[test]
fn a_request_longer_than_the_grace_is_left_behind() {
    let (server, address) = start(example("http_server").args(["--grace", "0.2"]));
    let mut client = Client::connect(address);
    client.send("/sleep?ms=60000");
    let mut other = Client::connect(address);
    // The server has read the first request once it lists its task's sleep … or at least the connection.
    while other.get("/tasks").1.matches("\"connection\"").count() < 2 {}
    let (output, ok) = stop(server, "TERM");
    assert!(ok && output.contains("still open"), "{output}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_without_descriptors_recovers() {
    let (server, address, crowd) = start_crowded();
    drop(crowd);
    assert_eq!(Client::connect(address).get("/").0, 200);
    assert!(stop(server, "TERM").1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_without_descriptors_sleeps_between_its_tries() {
    let (server, address, crowd) = start_crowded();
    let before = ticks(&server);
    thread::sleep(Duration::from_millis(600));
    let spent = ticks(&server) - before;
    // One that tries again and again takes whatever there is: 60 of the hundredths of a second that a core has.
    assert!(spent <= 6, "{spent} ticks");
    drop(crowd);
    assert_eq!(Client::connect(address).get("/").0, 200);
    assert!(stop(server, "TERM").1);
}

/// A server that has no descriptor left, and the connections that took them.
#[cfg(target_os = "linux")]
fn start_crowded() -> (Program, SocketAddr, Vec<TcpStream>) {
    let program = example("http_server");
    let shell = "ulimit -n 40; exec \"$0\" --port 0";
    let (server, address) = start_with(
        Command::new("sh")
            .args(["-c", shell])
            .arg(program.get_program()),
    );
    let crowd = (0..60)
        .filter_map(|_| TcpStream::connect(address).ok())
        .collect();
    let descriptors = format!("/proc/{}/fd", server.id());
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::read_dir(&descriptors).unwrap().count() < 40 {
        assert!(Instant::now() < deadline, "the server has descriptors left");
        thread::yield_now();
    }
    (server, address, crowd)
}

/// How much processor time a program has used, in the kernel's ticks.
#[cfg(target_os = "linux")]
fn ticks(program: &Program) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.id())).unwrap();
    // The name, in brackets, may contain anything.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let field = |n: usize| rest.split(' ').nth(n).unwrap().parse::<u64>().unwrap();
    field(11) + field(12)
}

#[test]
fn a_taken_port_is_one_line_and_status_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    complains(&["--port", &port], "cannot listen on 127.0.0.1:");
}

#[test]
fn bad_arguments_are_one_line_and_status_2() {
    complains(&["--what"], "--what");
    complains(&["--port", "99999"], "99999");
    complains(&["--port"], "--port");
    complains(&["--grace", "soon"], "soon");
    complains(&["--workers", "0", "--port", "0"], "worker_threads");
}

#[test]
fn help_is_printed_on_demand() {
    let output = example("http_server").arg("--help").output().unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("--load SECS")
    );
}

#[test]
fn the_load_reports_and_ends() {
    let output = example("http_server")
        .args(["--load", "0.5"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for part in [
        "listening on",
        "requests/s",
        "p50",
        "p99",
        "load: 0 errors",
        "requests:",
        "ShutdownReport",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

fn complains(arguments: &[&str], about: &str) {
    let output = example("http_server").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    assert!(text.contains(about), "{arguments:?}: {text}");
}

fn start(command: &mut Command) -> (Program, SocketAddr) {
    start_with(command.args(["--port", "0"]))
}

fn start_with(command: &mut Command) -> (Program, SocketAddr) {
    let mut server = Program::start(command);
    let line = server.line();
    let address = line
        .trim()
        .strip_prefix("listening on http://")
        .expect("the address");
    (server, address.parse().unwrap())
}

fn send(server: &Program, signal: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), &server.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// What the server prints after the signal, and whether it ended well.
fn stop(server: Program, signal: &str) -> (String, bool) {
    send(&server, signal);
    let (output, status) = server.finish();
    (output, status.success())
}

/// A client that knows as much of HTTP as the tests need.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(15)))
            .unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    fn get(&mut self, path: &str) -> (u16, String) {
        self.send(path);
        self.receive().expect("an answer")
    }

    fn send(&mut self, path: &str) {
        self.send_as("GET", path);
    }

    fn send_as(&mut self, method: &str, path: &str) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        // A server that is gone shows when the answer is read.
        let _ = self.stream.get_mut().write_all(request.as_bytes());
    }

    /// One whole answer; `None` if the server closed before its first byte.
    fn receive(&mut self) -> Option<(u16, String)> {
        let mut head = String::new();
        match self.stream.read_line(&mut head) {
            Ok(0) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            read => read.unwrap(),
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(
                self.stream.read_line(&mut line).unwrap(),
                0,
                "half an answer"
            );
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a whole answer");
        Some((status, String::from_utf8(body).unwrap()))
    }
}
