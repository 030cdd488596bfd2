//! Starts the examples, which `cargo test` has built beside the tests, and never waits for one without a limit.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses a part of it"
)]

mod cut;

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use cut::{Cut, until};

const LIMIT: Duration = Duration::from_secs(20);

/// The command for an example.
pub(crate) fn example(name: &str) -> Command {
    let own = std::env::current_exe().expect("this program has a path");
    let name = PathBuf::from("examples")
        .join(name)
        .with_extension(std::env::consts::EXE_EXTENSION);
    // How deep a test is below the folder of its profile is cargo's business.
    let mut paths = own.ancestors().map(|folder| folder.join(&name));
    let path = paths.find(|path| path.exists()).unwrap_or_else(|| {
        panic!(
            "{} is not built; run `cargo test -p heist-examples` without a filter",
            name.display()
        )
    });
    Command::new(path)
}

/// A program that runs, and what it prints.
pub(crate) struct Program {
    child: Child,
    /// `None`: nobody reads it.
    output: Option<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().map(BufReader::new);
        Self { child, output }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(
            self.reader()
                .read_line(&mut line)
                .expect("the program prints"),
            0,
            "the program ended"
        );
        line
    }

    fn reader(&mut self) -> &mut BufReader<ChildStdout> {
        self.output.as_mut().expect("a pipe")
    }

    /// Its standard error, which is a pipe if the command says so.
    pub(crate) fn errors(&mut self) -> impl BufRead + use<> {
        BufReader::new(self.child.stderr.take().expect("a pipe"))
    }

    /// Its standard input, which is a pipe if the command says so.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe")
    }

    /// What it prints from now on, and how it ends.
    pub(crate) fn finish(mut self) -> (String, ExitStatus) {
        let status = self.end();
        let mut rest = String::new();
        self.reader().read_to_string(&mut rest).expect("text");
        (rest, status)
    }

    /// How it ends if nobody reads what it prints.
    pub(crate) fn leave(mut self) -> ExitStatus {
        self.output = None;
        self.end()
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the program does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
