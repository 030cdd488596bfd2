//! A server process, seen from the side of the load.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::Target;
use crate::figures::resident_bytes;

/// A running server; it is ended when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    /// Starts a server of the kind `what`: "serve-echo", "serve-echo-small" or "serve-http".
    ///
    /// # Errors
    /// When the program cannot be started or does not tell its port.
    pub fn start(target: &Target<'_>, what: &str) -> io::Result<Self> {
        let mut child = Command::new(target.program)
            .args([
                target.backend,
                what,
                "--workers",
                &target.workers.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(questions), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the server has no pipes"));
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Self {
            child,
            questions,
            answers: BufReader::new(output),
            address,
        };
        let port = server.answer()?;
        server.address.set_port(port);
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CPU time that it has used.
    ///
    /// # Errors
    /// When the server has gone.
    pub fn cpu(&mut self) -> io::Result<Duration> {
        self.questions.write_all(b"cpu\n")?;
        self.answer().map(Duration::from_nanos)
    }

    /// The memory that it holds resident.
    ///
    /// # Errors
    /// When the server has gone.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        resident_bytes(&self.child.id().to_string())
    }

    fn answer<T: std::str::FromStr>(&mut self) -> io::Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim()
            .parse()
            .map_err(|_| io::Error::other(format!("the server said {line:?} in place of a number")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
