//! The HTTP example as a process of its own, and what drives it.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::process::{self, Outcome, Owned};
use crate::project::{self, cargo};
use crate::tools::Tool;

/// Set in the process that may open as many files as it needs.
const UNLIMITED: &str = "HEIST_XTASK_UNLIMITED";

/// Runs `body` where the limit of open files is as high as the system allows: in a process of its own, which gets the
/// command and its `words` again.
pub(crate) fn with_more_files(
    command: &str,
    words: &[&str],
    body: impl FnOnce() -> Outcome,
) -> Outcome {
    if env::var_os(UNLIMITED).is_some() {
        return body();
    }
    let own = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut again = Command::new("sh");
    again
        .args(["-c", "ulimit -n \"$(ulimit -Hn)\" && exec \"$0\" \"$@\""])
        .arg(own)
        .arg(command)
        .args(words)
        .env(UNLIMITED, "1");
    process::show(&mut again)
}

pub(crate) fn holds(kept: bool, otherwise: &str) -> Outcome {
    if kept {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}

pub(crate) struct Server {
    process: Owned,
    output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Builds it with these features, and starts it on a free port, with more in its environment.
    pub(crate) fn start(
        errors: Stdio,
        features: &str,
        environment: &[(&str, &str)],
    ) -> Outcome<Self> {
        Tool::Wrk.provide(false)?;
        let mut build = cargo("build --quiet --release -p heist-examples --example http_server");
        process::show(build.args(["--features", features]))?;
        let program = project::target("release/examples/http_server");
        let mut command = Command::new(program);
        command
            .args(["--port", "0"])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(errors);
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
    pub(crate) fn resident(&self) -> Outcome<u64> {
        let status = project::read(format!("/proc/{}/status", self.id()).as_ref())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        number.ok_or_else(|| "the system does not say how much memory is resident".to_owned())
    }

    /// What it has allocated, in bytes.
    pub(crate) fn allocated(&self) -> Outcome<u64> {
        let ask = || -> io::Result<String> {
            let mut client = TcpStream::connect(self.address)?;
            client.write_all(b"GET /memory HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            client.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|error| format!("/memory: {error}"))?;
        let bytes = answer.lines().last().and_then(|line| line.parse().ok());
        bytes.ok_or_else(|| format!("/memory answers {answer}"))
    }

    pub(crate) fn files(&self) -> Outcome<usize> {
        let folder = format!("/proc/{}/fd", self.id());
        let entries = fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
        Ok(entries.count())
    }

    /// Its standard error, if that is a pipe.
    pub(crate) fn errors(&mut self) -> Option<ChildStderr> {
        self.process.0.stderr.take()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Asks it to stop, and returns how many requests it says that it has begun, and answered.
    pub(crate) fn stop(mut self) -> Outcome<(u64, u64)> {
        let begun = Instant::now();
        let id = self.id().to_string();
        process::show(Command::new("kill").args(["-TERM", &id]))?;
        let mut text = String::new();
        self.output
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        let status = self.process.0.wait().map_err(|error| error.to_string())?;
        println!("{text}stopped after {:.2?} with {status}", begun.elapsed());
        holds(status.success(), "the server did not end well")?;
        let mut lines = text.lines();
        let counts = lines.find_map(|line| line.strip_prefix("requests: "));
        let counts = counts.and_then(|counts| {
            let (started, answered) = counts.split_once(" started, ")?;
            let answered = answered.strip_suffix(" answered")?;
            Some((started.parse().ok()?, answered.parse().ok()?))
        });
        counts.ok_or_else(|| "the server does not say what it answered".to_owned())
    }
}

/// Starts `connections` clients that ask for `path` one time after another.
pub(crate) fn wrk(
    address: SocketAddr,
    path: &str,
    connections: usize,
    seconds: u64,
) -> Outcome<Owned> {
    let url = format!("http://{address}{path}");
    Owned::spawn(
        Command::new("wrk")
            .arg(format!("-t{}", connections.min(2)))
            .arg(format!("-c{connections}"))
            .arg(format!("-d{seconds}s"))
            // A slow machine is no error of the server's.
            .args(["--latency", "--timeout", "30s", &url])
            .stdout(Stdio::piped()),
    )
}

/// What the clients report, unless they saw an error.
pub(crate) fn finish(mut load: Owned) -> Outcome<String> {
    let mut text = String::new();
    let output = load.0.stdout.as_mut().ok_or("wrk has no output")?;
    output
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.contains("requests in") && !text.contains("errors") && !text.contains("Non-2xx") {
        Ok(text)
    } else {
        Err(format!("wrk saw errors:\n{text}"))
    }
}
