//! The loads by name.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::serve::MESSAGE;
use super::{Client, Load, Server, Target};
use crate::figures::{Figures, per_operation};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

const LOADS: &[Load] = &[
    Load {
        name: "tcp_echo_1",
        operations: 20_000,
        run: |target, n| echo(target, 1, n),
    },
    Load {
        name: "tcp_echo_64",
        operations: 100_000,
        run: |target, n| echo(target, 64, n),
    },
    Load {
        name: "tcp_echo_1000",
        operations: 100_000,
        run: |target, n| echo(target, 1000, n),
    },
    Load {
        name: "http",
        operations: 3,
        run: http_wrk,
    },
    Load {
        name: "http_fixed",
        operations: 50_000,
        run: http_fixed,
    },
    Load {
        name: "idle_conns",
        operations: 9_900,
        run: |target, n| idle_connections(target, "serve-echo-small", &[b'x'; MESSAGE], n),
    },
    Load {
        name: "idle_conns_http",
        operations: 9_900,
        run: |target, n| idle_connections(target, "serve-http", GET, n),
    },
];

/// Looks a load up.
#[must_use]
pub fn find(name: &str) -> Option<Load> {
    LOADS.iter().find(|load| load.name == name).copied()
}

/// The names of all loads.
#[must_use]
pub fn names() -> Vec<&'static str> {
    LOADS.iter().map(|load| load.name).collect()
}

/// 64-byte ping-pong on some connections; wall time and server CPU per message.
fn echo(target: &Target<'_>, connections: usize, messages: u64) -> io::Result<Figures> {
    fixed(
        target,
        "serve-echo",
        connections,
        &[b'x'; MESSAGE],
        messages,
    )
}

/// A fixed number of requests on 64 connections; wall time and server CPU per request.
fn http_fixed(target: &Target<'_>, requests: u64) -> io::Result<Figures> {
    fixed(target, "serve-http", 64, GET, requests)
}

fn fixed(
    target: &Target<'_>,
    what: &str,
    connections: usize,
    request: &[u8],
    total: u64,
) -> io::Result<Figures> {
    let mut server = Server::start(target, what)?;
    let mut client = Client::connect(server.address(), connections, request)?;
    client.round_trips(total / 10)?;
    let before = server.cpu()?;
    let wall = client.round_trips(total)?;
    Ok(per_operation(wall, server.cpu()? - before, total))
}

/// `wrk` with two threads and 64 connections for some seconds; wall time and server CPU per request.
fn http_wrk(target: &Target<'_>, seconds: u64) -> io::Result<Figures> {
    let mut server = Server::start(target, "serve-http")?;
    wrk(&server, 1)?;
    let before = server.cpu()?;
    let requests = wrk(&server, seconds)?;
    Ok(per_operation(
        Duration::from_secs(seconds),
        server.cpu()? - before,
        requests,
    ))
}

/// The number of requests that were answered.
fn wrk(server: &Server, seconds: u64) -> io::Result<u64> {
    let output = Command::new("wrk")
        .args([
            "-t2",
            "-c64",
            &format!("-d{seconds}s"),
            &format!("http://{}/", server.address()),
        ])
        .output()
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot start `wrk`, which makes the http load: {error}"),
            )
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    requests_in(&text).ok_or_else(|| {
        io::Error::other(format!(
            "wrk failed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    })
}

fn requests_in(report: &str) -> Option<u64> {
    report
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
}

/// Memory of the server per connection that has had one answer and does nothing any more.
fn idle_connections(
    target: &Target<'_>,
    what: &str,
    request: &[u8],
    connections: u64,
) -> io::Result<Figures> {
    let server = Server::start(target, what)?;
    let mut warm = Client::connect(server.address(), 50, request)?;
    warm.round_trips(50)?;
    let before = server.resident_bytes()?;
    let mut idle = Client::connect(server.address(), connections as usize, request)?;
    idle.round_trips(connections)?;
    let grown = server.resident_bytes()?.saturating_sub(before);
    Ok(Figures::of("bytes", grown as f64 / connections as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_are_found_in_the_report_of_wrk() {
        let report = "Running 1s test\n  2 threads and 64 connections\n  123456 requests in 1.00s, 9.0MB read\n";
        assert_eq!(requests_in(report), Some(123_456));
        assert_eq!(requests_in("unable to connect"), None);
    }
}
