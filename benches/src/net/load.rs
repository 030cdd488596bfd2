//! The loads by name.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::client::exchange;
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
        name: "tcp_accept",
        operations: 5_000,
        run: accept,
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

/// Connections that are closed after one round trip, by eight threads; wall time and server CPU per connection.
fn accept(target: &Target<'_>, connections: u64) -> io::Result<Figures> {
    let mut server = Server::start(target, "serve-echo")?;
    let address = server.address();
    short_connections(address, connections / 10)?;
    let before = server.cpu()?;
    let start = Instant::now();
    let made = short_connections(address, connections)?;
    Ok(per_operation(start.elapsed(), server.cpu()? - before, made))
}

/// Makes about `total` connections, and returns how many that were.
fn short_connections(address: SocketAddr, total: u64) -> io::Result<u64> {
    const THREADS: u64 = 8;
    let each = total.div_ceil(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..each {
                        let mut stream = TcpStream::connect(address)?;
                        exchange(&mut stream, &[b'x'; MESSAGE])?;
                    }
                    io::Result::Ok(each)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it does not panic"))
            .sum()
    })
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

/// `wrk` with two threads and 64 connections for some seconds; wall time and server CPU per request, and how long requests take.
fn http_wrk(target: &Target<'_>, seconds: u64) -> io::Result<Figures> {
    let mut server = Server::start(target, "serve-http")?;
    wrk(&server, 1)?;
    let before = server.cpu()?;
    let report = wrk(&server, seconds)?;
    let cpu = server.cpu()? - before;
    let figures = per_operation(Duration::from_secs(seconds), cpu, report.requests);
    Ok(figures
        .and("p50_ns", report.percentile_50)
        .and("p90_ns", report.percentile_90)
        .and("p99_ns", report.percentile_99))
}

/// What `wrk` tells, with times in nanoseconds.
#[derive(Debug, PartialEq)]
struct Report {
    requests: u64,
    percentile_50: f64,
    percentile_90: f64,
    percentile_99: f64,
}

impl Report {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let requests = lines
            .clone()
            .find_map(|line| line.split_once(" requests in ")?.0.parse().ok())?;
        let mut percentile =
            |name: &str| lines.find_map(|line| nanoseconds(line.strip_prefix(name)?.trim()));
        Some(Self {
            requests,
            percentile_50: percentile("50%")?,
            percentile_90: percentile("90%")?,
            percentile_99: percentile("99%")?,
        })
    }
}

/// A time such as "412.00us".
fn nanoseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|letter: char| letter.is_alphabetic())?);
    let unit = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * unit)
}

fn wrk(server: &Server, seconds: u64) -> io::Result<Report> {
    let output = Command::new("wrk")
        .args([
            "-t2",
            "-c64",
            "--latency",
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
    Report::parse(&text).ok_or_else(|| {
        io::Error::other(format!(
            "wrk failed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    })
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
    fn the_report_of_wrk_is_read() {
        let text = "  Thread Stats   Avg      Stdev\n  Latency Distribution\n     50%  412.00us\n     75%    1.00ms\n     90%    2.50ms\n     99%    1.20s\n  123456 requests in 1.00s, 9.0MB read\n";
        let report = Report {
            requests: 123_456,
            percentile_50: 412e3,
            percentile_90: 2.5e6,
            percentile_99: 1.2e9,
        };
        assert_eq!(Report::parse(text), Some(report));
        assert_eq!(Report::parse("unable to connect"), None);
    }
}
