//! Runs one workload on one backend in this process and prints its figures in one line.
//!
//! `bench-one BACKEND WORKLOAD [--workers W] [--n N] [--cold]`, with `rayon` and `bare` as backends for the few workloads
//! that they have, or as the server of a load:
//! `bench-one BACKEND serve-echo|serve-echo-small|serve-http|idle [--workers W]`, or as the load of a server that runs elsewhere:
//! `bench-one load PORT CONNECTIONS`, which makes as many round trips as each line of its standard input says.
#![allow(
    clippy::print_stdout,
    reason = "the output is the purpose of this program"
)]

use std::env;
use std::io::{self, BufRead};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use heist_benches::backend::{Backend, NAMES, Visitor, with};
use heist_benches::floor::{bare, rayon};
use heist_benches::net::{self, Client, Load, Target, serve};
use heist_benches::workload;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => {
            // Without a shutdown: a million parked tasks would be dropped one by one.
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-one: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> io::Result<()> {
    match arguments {
        [] => Err(usage("nothing to do")),
        [load, port, connections] if load == "load" => drive(number(port)?, number(connections)?),
        [backend, what, options @ ..] => {
            let options = Options::parse(options)?;
            if let Some(load) = net::find(what) {
                return under_load(&load, backend, &options);
            }
            match (backend.as_str(), what.as_str()) {
                (rayon::NAME, _) => {
                    let figures = rayon::run(what, options.workers, options.operations)?;
                    println!("{figures}");
                    return Ok(());
                }
                (bare::NAME, "serve-echo") => return bare::echo(options.workers),
                _ => {}
            }
            with(backend, One { what, options })
                .unwrap_or_else(|| Err(usage(&format!("no backend {backend:?}"))))
        }
        [word] => Err(usage(&format!("{word:?} alone says nothing"))),
    }
}

/// What may be said about a run.
struct Options {
    workers: usize,
    operations: Option<u64>,
    cold: bool,
}

impl Options {
    fn parse(words: &[String]) -> io::Result<Self> {
        let mut options = Self {
            workers: 2,
            operations: None,
            cold: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| usage(&format!("{word} needs a number")))
            };
            match word.as_str() {
                "--workers" => options.workers = number(value()?)?,
                "--n" => options.operations = Some(number(value()?)?),
                "--cold" => options.cold = true,
                _ => return Err(usage(&format!("unknown option {word}"))),
            }
        }
        Ok(options)
    }
}

struct One<'a> {
    what: &'a str,
    options: Options,
}

impl Visitor for One<'_> {
    type Output = io::Result<()>;

    fn visit<B: Backend>(self) -> io::Result<()> {
        let workers = self.options.workers;
        match self.what {
            "serve-echo" => serve::echo::<B>(workers),
            "serve-echo-small" => serve::echo_small::<B>(workers),
            "serve-http" => serve::http::<B>(workers),
            "idle" => serve::idle::<B>(workers),
            name => self.measure::<B>(name),
        }
    }
}

impl One<'_> {
    fn measure<B: Backend>(&self, name: &str) -> io::Result<()> {
        let workload =
            workload::find::<B>(name).ok_or_else(|| usage(&format!("no workload {name:?}")))?;
        let backend = B::start(self.options.workers)?;
        let operations = self.options.operations.unwrap_or(workload.operations);
        if !self.options.cold && !name.starts_with("memory") {
            (workload.run)(backend, (operations / 10).max(1));
        }
        println!("{}", (workload.run)(backend, operations));
        Ok(())
    }
}

/// Lets this process be the load, and another one with this program the server.
fn under_load(load: &Load, backend: &str, options: &Options) -> io::Result<()> {
    let program = env::current_exe()?;
    let target = Target {
        program: &program,
        backend,
        workers: options.workers,
    };
    let figures = (load.run)(&target, options.operations.unwrap_or(load.operations))?;
    println!("{figures}");
    Ok(())
}

/// Connects to an echo server, then makes as many round trips as it is told to and says so when they are done.
fn drive(port: u16, connections: usize) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut client = Client::connect(address, connections, &[b'x'; serve::MESSAGE])?;
    println!("connected");
    for line in io::stdin().lock().lines() {
        let total = number(&line?)?;
        client.round_trips(total)?;
        println!("{total}");
    }
    Ok(())
}

fn number<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse()
        .map_err(|_| usage(&format!("{word:?} is no number in range")))
}

fn usage(problem: &str) -> io::Error {
    let text = format!(
        "{problem}\nusage: bench-one BACKEND WORKLOAD [--workers W] [--n N] [--cold]\n  backends: {} {} {}\n  workloads: {} {}",
        NAMES.join(" "),
        rayon::NAME,
        bare::NAME,
        workload::names().join(" "),
        net::names().join(" "),
    );
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
