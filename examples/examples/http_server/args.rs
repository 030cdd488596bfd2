//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
An HTTP/1.1 server on heist.

Usage: http_server [OPTIONS]

Options:
  --port N       port to listen on; 0 takes a free one [default: 8080, with --load 0]
  --host ADDR    address to listen on [default: 127.0.0.1]
  --workers N    worker threads [default: one per core]
  --grace SECS   how long a stop waits for requests under way [default: 5]
  --load SECS    drive the server with 64 connections from a second process, report, stop
  --help         print this

Paths:
  /              a greeting
  /sleep?ms=20   answers after that many milliseconds
  /hash?n=1000   n rounds of SHA-256 on the blocking pool
  /tasks         the tasks of the runtime, as JSON

SIGINT and SIGTERM stop it gracefully. SIGUSR1 has it list its tasks on standard error.
";

/// What the process was asked to do.
pub(crate) enum Command {
    Serve(Serve),
    /// The other side of `--load`: the server starts itself once more with it. Not for people.
    Client(Client),
    Help,
}

pub(crate) struct Serve {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) workers: Option<usize>,
    pub(crate) grace: Duration,
    pub(crate) load: Option<Duration>,
}

pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) time: Duration,
}

/// The hidden word that makes this process a client.
pub(crate) const CLIENT: &str = "client-of-load";

pub(crate) fn parse() -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let mut serve = Serve {
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        workers: None,
        grace: Duration::from_secs(5),
        load: None,
    };
    let mut port = None;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("host") => serve.host = parser.value()?.parse()?,
            Long("port") => port = Some(parser.value()?.parse()?),
            Long("workers") => serve.workers = Some(parser.value()?.parse()?),
            Long("grace") => serve.grace = parser.value()?.parse_with(seconds)?,
            Long("load") => serve.load = Some(parser.value()?.parse_with(seconds)?),
            Value(word) if word == CLIENT => return client(&mut parser),
            _ => return Err(arg.unexpected()),
        }
    }
    let usual = if serve.load.is_some() { 0 } else { 8080 };
    serve.port = port.unwrap_or(usual);
    Ok(Command::Serve(serve))
}

fn client(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let address = parser.value()?.parse()?;
    let time = parser.value()?.parse_with(seconds)?;
    Ok(Command::Client(Client { address, time }))
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    match Duration::try_from_secs_f64(number) {
        Ok(time) if time <= Duration::from_secs(24 * 60 * 60) => Ok(time),
        _ => Err("not a time from 0 to 86400 seconds"),
    }
}
