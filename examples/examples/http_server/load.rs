//! The clients of `--load`, in a process of their own: the server does not measure itself.

use std::error::Error;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use heist::net::TcpStream;
use heist::{Handle, Runtime, Task};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, StatusCode};

use crate::args::{CLIENT, Client};

const CONNECTIONS: usize = 64;

type Failure = Box<dyn Error + Send + Sync>;

/// Starts the second process. The task ends with it, and ends it when it is cancelled.
pub(crate) fn start(handle: &Handle, address: SocketAddr, time: Duration) -> Task<ExitCode> {
    let process = || {
        Command::new(std::env::current_exe()?)
            .args(arguments(address, time))
            .spawn()
    };
    let process = process().map(Process);
    handle.spawn(async move {
        let Ok(mut process) = process else {
            return ExitCode::FAILURE;
        };
        loop {
            match process.0.try_wait() {
                Ok(None) => heist::time::sleep(Duration::from_millis(20)).await,
                Ok(Some(status)) if status.success() => return ExitCode::SUCCESS,
                Ok(Some(_)) | Err(_) => return ExitCode::FAILURE,
            }
        }
    })
}

fn arguments(address: SocketAddr, time: Duration) -> [String; 3] {
    [
        CLIENT.to_owned(),
        address.to_string(),
        time.as_secs_f64().to_string(),
    ]
}

/// A child that does not outlive its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The second process: drives the server for some time, then prints what it saw.
pub(crate) fn client(options: &Client) -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::new()?;
    let (address, end) = (options.address, Instant::now() + options.time);
    let start = Instant::now();
    let tally = runtime.block_on(async {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| heist::spawn(drive(address, end)))
            .collect();
        let mut total = Tally::default();
        for client in clients {
            total.add(client.await?);
        }
        Ok::<_, heist::TaskError>(total)
    })?;
    tally.print(start.elapsed());
    match tally.errors {
        0 => Ok(()),
        errors => Err(format!("{errors} of the clients' requests failed").into()),
    }
}

/// One client: request after request on one connection, a new one after an error.
async fn drive(address: SocketAddr, end: Instant) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < end {
        if let Err(error) = converse(address, end, &mut tally).await {
            tally.errors += 1;
            tally.last_error = Some(error.to_string());
            // Otherwise a server that is gone would be asked a million times.
            heist::time::sleep(Duration::from_millis(50)).await;
        }
    }
    tally
}

async fn converse(address: SocketAddr, end: Instant, tally: &mut Tally) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = handshake(stream).await?;
    let _connection = heist::spawn(connection).cancel_on_drop();
    while Instant::now() < end {
        let start = Instant::now();
        request(&mut sender, address).await?;
        tally.times.push(start.elapsed());
    }
    Ok(())
}

async fn request(
    sender: &mut SendRequest<Empty<Bytes>>,
    address: SocketAddr,
) -> Result<(), Failure> {
    let request = Request::get("/")
        .header(HOST, address.to_string())
        .body(Empty::new())?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("the server said {}", response.status()).into());
    }
    response.into_body().collect().await?;
    Ok(())
}

/// What clients saw.
#[derive(Default)]
struct Tally {
    times: Vec<Duration>,
    errors: u64,
    last_error: Option<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.errors += other.errors;
        self.last_error = other.last_error.or(self.last_error.take());
    }

    fn print(&self, elapsed: Duration) {
        let mut times = self.times.clone();
        times.sort_unstable();
        let rate = times.len() as f64 / elapsed.as_secs_f64();
        println!(
            "load: {} requests in {elapsed:.2?} over {CONNECTIONS} connections",
            times.len()
        );
        println!("load: {rate:.0} requests/s");
        println!(
            "load: p50 {:.2?}, p99 {:.2?}",
            percentile(&times, 50),
            percentile(&times, 99)
        );
        println!("load: {} errors", self.errors);
        if let Some(error) = &self.last_error {
            println!("load: the last one: {error}");
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
