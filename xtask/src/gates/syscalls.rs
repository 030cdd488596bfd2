//! Syscalls of a process over a window, counted by the kernel. A tracer that stops the process at each of them would
//! change what it counts: a slow server always finds data.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::Subject;
use crate::process::{Outcome, Owned, show};
use crate::project::{self, number};

const ROUND_TRIPS: u32 = 20_000;

/// Long enough for the counter to be attached, and for an idle runtime to have gone to sleep.
const SETTLE: Duration = Duration::from_secs(1);

/// The least of a few measurements. How much one wait of the server finds depends on how soon the client is on a processor
/// again: what else runs on the machine can only add to the count.
pub(super) fn per_round_trip(subject: &Subject, connections: u32) -> Outcome<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        least = least.min(round_trips(subject, connections)?);
    }
    Ok(least)
}

/// Server and client are processes of their own; only the server is counted, only while the round trips are made.
fn round_trips(subject: &Subject, connections: u32) -> Outcome<f64> {
    let mut server = Talker::start(&mut subject.command("serve-echo --workers 1"))?;
    let port = server.hear()?;
    let mut client = Command::new(&subject.program);
    client.args(["load", &port, &connections.to_string()]);
    let mut client = Talker::start(&mut client)?;
    client.hear()?;
    client.ask(&ROUND_TRIPS.to_string())?;
    let counted = during(server.id(), || {
        client.ask(&ROUND_TRIPS.to_string()).map(drop)
    })?;
    Ok(counted as f64 / f64::from(ROUND_TRIPS))
}

/// Two seconds that begin one second after the last task.
pub(super) fn while_idle(subject: &Subject) -> Outcome<f64> {
    let mut idle = Talker::start(&mut subject.command("idle --workers 2"))?;
    idle.hear()?;
    thread::sleep(SETTLE);
    // The counter has been there for a second when the window begins.
    let counted = during(idle.id(), || {
        thread::sleep(Duration::from_secs(1));
        Ok(())
    })?;
    Ok(counted as f64)
}

/// A process that is spoken to line by line.
struct Talker {
    child: Owned,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talker {
    fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = Owned::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let Child { stdin, stdout, .. } = &mut child.0;
        let (Some(input), Some(output)) = (stdin.take(), stdout.take()) else {
            return Err("the process has no pipes".to_owned());
        };
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    fn id(&self) -> u32 {
        self.child.0.id()
    }

    fn hear(&mut self) -> Outcome<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(1..) => Ok(line.trim().to_owned()),
            Ok(0) => Err("the measured process has gone; its own message is above".to_owned()),
            Err(error) => Err(format!("the measured process cannot be read: {error}")),
        }
    }

    fn ask(&mut self, line: &str) -> Outcome<String> {
        writeln!(self.input, "{line}")
            .map_err(|error| format!("the measured process does not listen: {error}"))?;
        self.hear()
    }
}

/// Counts the syscalls of all threads of `pid` while `window` runs. Nothing may happen in the process before and after.
fn during(pid: u32, window: impl FnOnce() -> Outcome) -> Outcome<u64> {
    let file = project::target("gates").join(format!("syscalls.{pid}"));
    let mut perf = Command::new("perf");
    perf.args([
        "stat",
        "--event",
        "raw_syscalls:sys_enter",
        "--field-separator",
        ",",
        "--pid",
        &pid.to_string(),
        "--output",
    ])
    .arg(&file);
    let mut perf = Owned::spawn(perf.stdin(Stdio::null()))?;
    thread::sleep(SETTLE);
    let result = window();
    thread::sleep(Duration::from_millis(50));
    // An interrupt makes it write its count.
    show(Command::new("kill").args(["-INT", &perf.0.id().to_string()]))?;
    perf.0
        .wait()
        .map_err(|error| format!("cannot wait for perf: {error}"))?;
    result?;
    let text = fs::read_to_string(&file).map_err(|error| {
        format!(
            "perf wrote no {}: {error}; does it run as root?",
            file.display()
        )
    })?;
    // It is a note of this run alone.
    let _ = fs::remove_file(&file);
    let line = text
        .lines()
        .find(|line| line.contains("raw_syscalls:sys_enter"));
    let count = line
        .and_then(|line| line.split(',').next())
        .ok_or_else(|| format!("perf said: {text}"))?;
    // Threads that were never put on a core had nothing to count.
    if count == "<not counted>" {
        return Ok(0);
    }
    number(count).map_err(|_| {
        format!("perf cannot count syscalls here ({count}): run as root, with tracefs mounted")
    })
}
