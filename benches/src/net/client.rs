//! A load generator: one thread, one epoll, one outstanding request per connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections to one server.
#[derive(Debug)]
pub struct Client {
    epoll: std::os::fd::OwnedFd,
    connections: Vec<Connection>,
    request: Vec<u8>,
    response: usize,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    missing: usize,
}

impl Client {
    /// Connects `count` times. Each `request` has an answer of always the same length, which is found out by asking once.
    ///
    /// # Errors
    /// What the system says; above all the limit of open files.
    pub fn connect(address: SocketAddr, count: usize, request: &[u8]) -> io::Result<Self> {
        raise_file_limit();
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut client = Self {
            epoll,
            connections: Vec::with_capacity(count),
            request: request.to_vec(),
            response: 0,
        };
        for index in 0..count {
            let mut stream = connect_patiently(address)?;
            stream.set_nodelay(true)?;
            client.response = exchange(&mut stream, request)?;
            epoll::add(
                &client.epoll,
                &stream,
                EventData::new_u64(index as u64),
                EventFlags::IN,
            )?;
            client.connections.push(Connection { stream, missing: 0 });
        }
        Ok(client)
    }

    /// Makes `total` round trips, spread over the connections, and returns how long they took.
    ///
    /// # Errors
    /// When the server closes a connection.
    pub fn round_trips(&mut self, total: u64) -> io::Result<Duration> {
        let start = Instant::now();
        let mut unsent = total;
        let mut unanswered = total;
        for index in 0..self.connections.len() {
            self.send(index, &mut unsent)?;
        }
        let mut events = Vec::with_capacity(256);
        while unanswered > 0 {
            events.clear();
            epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            )?;
            for event in &events {
                let index = event.data.u64() as usize;
                if self.receive(index)? {
                    unanswered -= 1;
                    self.send(index, &mut unsent)?;
                }
            }
        }
        Ok(start.elapsed())
    }

    fn send(&mut self, index: usize, unsent: &mut u64) -> io::Result<()> {
        if *unsent == 0 {
            return Ok(());
        }
        *unsent -= 1;
        let connection = &mut self.connections[index];
        connection.missing = self.response;
        connection.stream.write_all(&self.request)
    }

    /// Takes what has arrived; true when it completes the answer.
    fn receive(&mut self, index: usize) -> io::Result<bool> {
        let mut buffer = [0; 1024];
        let connection = &mut self.connections[index];
        let length = connection.stream.read(&mut buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        connection.missing = connection.missing.saturating_sub(length);
        Ok(connection.missing == 0)
    }
}

/// One round trip, which also proves that the server has taken the connection.
pub(super) fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<usize> {
    let mut buffer = [0; 1024];
    stream.write_all(request)?;
    stream.read(&mut buffer)
}

/// A full backlog or a used-up port is no reason to give up at once.
fn connect_patiently(address: SocketAddr) -> io::Result<TcpStream> {
    for _ in 0..50 {
        if let Ok(stream) = TcpStream::connect(address) {
            return Ok(stream);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    TcpStream::connect(address)
}

/// As many open files as the hard limit allows.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the old limit holds and a connection beyond it tells so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
