//! An echo server made of nothing but system calls: a thread per worker, each with a poller of its own, all of them with
//! the one listener.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{SocketFlags, accept_with};

use crate::net::serve::{BUFFER, answer_questions};

/// What the command line calls it.
pub const NAME: &str = "bare";

/// The workloads that it has.
pub const WORKLOADS: &[&str] = &["tcp_echo_1", "tcp_echo_64", "tcp_echo_1000", "tcp_accept"];

/// No descriptor has this number.
const LISTENER: u64 = u64::MAX;

/// Answers with what it got.
///
/// # Errors
/// When there are no descriptors or threads.
pub fn echo(workers: usize) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let listener = Arc::new(listener);
    for index in 0..workers {
        let worker = Worker::new(Arc::clone(&listener))?;
        thread::Builder::new()
            .name(format!("bare-{index}"))
            .spawn(move || worker.run())?;
    }
    answer_questions(port)
}

struct Worker {
    epoll: OwnedFd,
    listener: Arc<TcpListener>,
    /// By descriptor.
    streams: Vec<Option<TcpStream>>,
    buffer: [u8; BUFFER],
}

impl Worker {
    fn new(listener: Arc<TcpListener>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // A connection wakes one of the threads.
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), flags)?;
        Ok(Self {
            epoll,
            listener,
            streams: Vec::new(),
            buffer: [0; BUFFER],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.epoll, spare, None)?;
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    descriptor => self.answer(descriptor as usize),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(accepted) = accept_with(&self.listener, flags) {
            let stream = TcpStream::from(accepted);
            let descriptor = stream.as_raw_fd() as usize;
            let data = EventData::new_u64(descriptor as u64);
            epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
            if self.streams.len() <= descriptor {
                self.streams.resize_with(descriptor + 1, || None);
            }
            self.streams[descriptor] = Some(stream);
        }
        Ok(())
    }

    fn answer(&mut self, descriptor: usize) {
        let slot = &mut self.streams[descriptor];
        let Some(stream) = slot else {
            return;
        };
        let alive = match stream.read(&mut self.buffer) {
            Ok(length @ 1..) => stream.write_all(&self.buffer[..length]).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(0) => false,
        };
        if !alive {
            *slot = None;
        }
    }
}
