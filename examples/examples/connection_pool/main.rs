//! A pool of TCP connections: a semaphore for who may have one, a condition variable for what is idle, checks of what has been
//! idle for long.
//!
//! ```text
//! cargo run --example connection_pool
//! cargo run --example connection_pool -- --clients 100 --requests 50 --size 8
//! cargo run --example connection_pool -- --at 127.0.0.1:7000    # a server that is there: it sends lines back in capitals
//! ```
//!
//! Many clients share few connections, to a server that this program runs too. Every tenth request breaks its connection, which is
//! thrown away. At the end the pool waits until all are back and closes them. It prints how many requests were answered, how many
//! broke, and how many connections that took; the server has never seen more of them than the pool's size.
//!
//! | file | what |
//! |---|---|
//! | `pool.rs` | the pool |
//! | `server.rs` | the server |

#![expect(
    clippy::print_stdout,
    reason = "the output is what this program is for"
)]

mod pool;
mod server;

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use heist::net::TcpListener;
use heist::task::{GroupError, TaskGroup};
use heist::time::Duration;
use lexopt::prelude::*;

use pool::{Pool, Settings};
use server::{Seen, serve};

struct Options {
    clients: usize,
    requests: usize,
    size: usize,
    at: Option<SocketAddr>,
}

#[heist::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    TaskGroup::run(async |group| {
        let seen = Arc::new(Seen::default());
        let address = match options.at {
            Some(address) => address,
            None => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                let address = listener.local_addr()?;
                group
                    .named("server")
                    .spawn(serve(listener, Arc::clone(&seen)))?;
                address
            }
        };
        work(&options, address).await?;
        if options.at.is_none() {
            println!("the server has seen {} at once at most", seen.most());
        }
        // The server goes on for ever otherwise.
        group.cancel();
        Ok(())
    })
    .await?;
    Ok(())
}

/// Runs the clients, and who keeps their pool beside them.
async fn work(options: &Options, address: SocketAddr) -> Result<(), GroupError> {
    let settings = Settings {
        size: options.size,
        check_after: Duration::from_millis(500),
        patience: Duration::from_secs(5),
    };
    let pool = Arc::new(Pool::new(address, settings));
    let counts = Arc::new(Counts::default());
    TaskGroup::run(async |group| {
        let kept = Arc::clone(&pool);
        group
            .named("keeper")
            .spawn(async move { kept.keep().await })?;
        TaskGroup::run(async |clients| {
            for number in 0..options.clients {
                let client = client(
                    number,
                    options.requests,
                    Arc::clone(&pool),
                    Arc::clone(&counts),
                );
                clients.named(format!("client {number}")).spawn(client)?;
            }
            Ok(())
        })
        .await?;
        // The keeper ends with that.
        pool.close().await;
        Ok(())
    })
    .await?;
    println!(
        "{} requests answered, {} broken, over {} connections",
        counts.answered.load(Ordering::Relaxed),
        counts.broken.load(Ordering::Relaxed),
        pool.opened()
    );
    Ok(())
}

/// What has become of the requests.
#[derive(Default)]
struct Counts {
    answered: AtomicUsize,
    broken: AtomicUsize,
}

async fn client(
    number: usize,
    requests: usize,
    pool: Arc<Pool>,
    counts: Arc<Counts>,
) -> io::Result<()> {
    for request in 1..=requests {
        if request % 10 == 0 {
            // The server hangs up without an answer.
            let broken = pool.with(async |connection| connection.ask("break").await);
            let broken = usize::from(broken.await.is_err());
            counts.broken.fetch_add(broken, Ordering::Relaxed);
        }
        ask(&pool, &format!("request {request} of client {number}")).await?;
        counts.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Asks, and checks the answer. A connection that was idle may turn out to be broken: then another one is asked.
async fn ask(pool: &Pool, line: &str) -> io::Result<()> {
    let mut tries = 5;
    loop {
        tries -= 1;
        let asked = pool.with(async |connection| connection.ask(line).await);
        match asked.await {
            Ok(answer) if answer == line.to_uppercase() => return Ok(()),
            Ok(answer) => return Err(io::Error::other(format!("{line}: {answer}"))),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

fn options() -> Result<Options, lexopt::Error> {
    let mut options = Options {
        clients: 20,
        requests: 25,
        size: 4,
        at: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("clients") => options.clients = parser.value()?.parse()?,
            Long("requests") => options.requests = parser.value()?.parse()?,
            Long("size") => options.size = parser.value()?.parse_with(positive)?,
            Long("at") => options.at = Some(parser.value()?.parse()?),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(options)
}

fn positive(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number of connections"),
        Ok(number) => Ok(number),
    }
}
