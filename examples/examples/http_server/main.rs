//! An HTTP/1.1 server on heist and hyper: keep-alive, timers, blocking work, a look at its own tasks, and a stop
//! that loses no request.
//!
//! ```text
//! cargo run --release --example http_server -- --port 8080
//! cargo run --release --example http_server -- --load 5
//! ```
//!
//! | file | what |
//! |---|---|
//! | `args.rs` | the command line |
//! | `serve.rs` | accept loop, connections, graceful stop |
//! | `routes.rs` | what answers a request |
//! | `memory/` | how much is allocated, with the feature `count-memory` |
//! | `report.rs` | the list of tasks that a signal asks for |
//! | `load.rs` | the clients of `--load`, in a process of their own |
//! | `race.rs` | waiting for one of two things |

#![expect(
    clippy::print_stdout,
    reason = "the output is what this program is for"
)]

mod args;
mod load;
#[cfg_attr(feature = "count-memory", path = "memory/counted.rs")]
#[cfg_attr(not(feature = "count-memory"), path = "memory/uncounted.rs")]
mod memory;
mod race;
mod report;
mod routes;
mod serve;

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use heist::{Handle, Runtime};

use args::{Command, Serve};
use routes::Counts;

/// A command line or a port that cannot be used, as `sh` and most tools report it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match args::parse() {
        Ok(Command::Help) => {
            print!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Ok(Command::Serve(options)) => serve(&options),
        Ok(Command::Client(options)) => match load::client(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(error, 1),
        },
        Err(error) => complain(format_args!("{error} (see --help)"), USAGE),
    }
}

/// Runs the server from the first accept to the last report.
fn serve(options: &Serve) -> ExitCode {
    let mut builder = Runtime::builder().shutdown_grace(options.grace);
    if let Some(workers) = options.workers {
        builder = builder.worker_threads(workers);
    }
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(format_args!("cannot start: {error}"), USAGE),
    };
    let counts = Arc::new(Counts::default());
    let served = runtime.block_on(run(options, Arc::clone(&counts)));
    let code = match served {
        Ok(code) => code,
        Err(error) => return complain(error, USAGE),
    };
    // What the drain left has had its grace already.
    let report = runtime.shutdown(Duration::from_millis(100));
    println!(
        "requests: {} started, {} answered",
        counts.started(),
        counts.answered()
    );
    println!("{report:#?}");
    code
}

/// Listens, and serves until a signal comes or the load is over.
async fn run(options: &Serve, counts: Arc<Counts>) -> Result<ExitCode, Box<dyn Error>> {
    let address = SocketAddr::from((options.host, options.port));
    let server = serve::Server::bind(address, counts)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = server.local_addr()?;
    // First: whoever has read the line may send a signal.
    let stop = serve::Stop::new()?;
    let report = report::start()?;
    println!("listening on http://{address}");

    let load = options
        .load
        .map(|time| load::start(&Handle::current(), address, time));
    let (code, left) = server.run(stop, load, options.grace).await;
    report.cancel();
    if left > 0 {
        println!(
            "{left} connections were still open after {:?}",
            options.grace
        );
    }
    Ok(code)
}

fn complain(error: impl Display, code: u8) -> ExitCode {
    eprintln!("http_server: {error}");
    ExitCode::from(code)
}
