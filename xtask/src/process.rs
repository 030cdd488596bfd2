//! Running other programs: with their output shown, captured, or bounded in time.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a command of this program returns: nothing, or a sentence that says what failed.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// What a bounded run left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` when it was ended because its time was over.
    pub(crate) status: Option<ExitStatus>,
    /// Standard output, then standard error.
    pub(crate) output: String,
    pub(crate) elapsed: Duration,
}

impl Ran {
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The last lines of the output, for a report.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let all: Vec<&str> = self.output.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Runs to the end with its output shown.
pub(crate) fn show(command: &mut Command) -> Outcome {
    let text = describe(command);
    println!("$ {text}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| cannot_start(&text, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{text}` ended with {status}"))
    }
}

/// Runs to the end and returns its standard output; its standard error is shown.
pub(crate) fn capture(command: &mut Command) -> Outcome<String> {
    let text = describe(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| cannot_start(&text, &error))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("`{text}` ended with {}", output.status))
    }
}

/// Runs for at most `limit`, then kills it, and returns what it printed in both cases.
pub(crate) fn bounded(command: &mut Command, limit: Duration) -> Outcome<Ran> {
    let text = describe(command);
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(&text, &error))?;
    let readers = [
        child.stdout.take().map(read_all),
        child.stderr.take().map(read_all),
    ];
    let status = wait_until(&mut child, start + limit)
        .map_err(|error| format!("cannot wait for `{text}`: {error}"))?;
    let elapsed = start.elapsed();
    let output = readers
        .into_iter()
        .flatten()
        .filter_map(|reader| reader.join().ok())
        .collect();
    Ok(Ran {
        status,
        output,
        elapsed,
    })
}

fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A child process that does not outlive its owner.
#[derive(Debug)]
pub(crate) struct Owned(pub(crate) Child);

impl Owned {
    pub(crate) fn spawn(command: &mut Command) -> Outcome<Self> {
        let text = describe(command);
        command
            .spawn()
            .map(Self)
            .map_err(|error| cannot_start(&text, &error))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a program of that name can be started.
pub(crate) fn exists(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

fn cannot_start(text: &str, error: &io::Error) -> String {
    format!("cannot start `{text}`: {error}")
}

fn describe(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={} ", name.to_str()?, value?.to_str()?)));
    let words = command
        .get_args()
        .map(|word| word.to_string_lossy().into_owned());
    let program = command.get_program().to_string_lossy().into_owned();
    variables.collect::<String>()
        + &std::iter::once(program)
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
}
