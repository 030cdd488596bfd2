//! Sockets under load and in want. One test at a time, since they count descriptors, or take them away.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(target_os = "linux")]

mod support;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::net::{
    Connection, OwnedReadHalf, OwnedWriteHalf, TcpListener, TcpStream, UnixListener, UnixStream,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use support::{bounded, left_alone, runtime};

const CLIENTS: usize = 1000;
const MESSAGES: usize = 10;

/// Held by the test that runs.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn an_echo_server_gives_every_byte_back_and_closes_what_it_opened() {
    let _alone = alone();
    // Both ends of each connection are in this process.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .unwrap();
    bounded(|| {
        let runtime = left_alone(4);
        // Whatever the runtime opens once is open now.
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (client, server) = (TcpStream::connect(address).await, listener.accept().await);
            drop((client.unwrap(), server.unwrap()));
        });
        let before = open();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = heist::spawn(async move {
                let mut connections = Vec::new();
                for _ in 0..CLIENTS {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.push(heist::spawn(echo(stream)));
                }
                for connection in connections {
                    connection.await.unwrap().unwrap();
                }
            });
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| heist::spawn(client(address, number)))
                .collect();
            for client in clients {
                client.await.unwrap().unwrap();
            }
            server.await.unwrap();
        });
        assert_eq!(open(), before);
    });
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read]).await?,
        }
    }
}

async fn client(address: std::net::SocketAddr, number: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    for message in 0..MESSAGES {
        let sent = format!("client {number:04}, message {message:02}");
        stream.write_all(sent.as_bytes()).await?;
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).await?;
        assert_eq!(back, sent.as_bytes());
    }
    Ok(())
}

/// One task reads and another one writes, at each end, and neither takes the other's events.
#[test]
fn the_halves_of_a_stream_work_in_two_tasks_each() {
    let _alone = alone();
    bounded(|| {
        runtime(4).block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let client = TcpStream::connect(address).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            both_ways(client.into_split(), server.into_split()).await;
            let (one, other) = UnixStream::pair().unwrap();
            both_ways(one.into_split(), other.into_split()).await;
        });
    });
}

type Halves<S> = (OwnedReadHalf<S>, OwnedWriteHalf<S>);

async fn both_ways<S>(one: Halves<S>, other: Halves<S>)
where
    S: Connection + Send + Sync + 'static,
{
    // More than fits into the buffers of both sides.
    let data: Arc<[u8]> = (0..251).collect::<Vec<u8>>().repeat(16_384).into();
    let tasks: Vec<_> = [one, other]
        .into_iter()
        .map(|(mut reading, mut writing)| {
            let (sent, expected) = (Arc::clone(&data), Arc::clone(&data));
            // Dropping its half ends the stream.
            let sender = heist::spawn(async move { writing.write_all(&sent).await.unwrap() });
            let receiver = heist::spawn(async move {
                let mut all = Vec::new();
                reading.read_to_end(&mut all).await.unwrap();
                assert!(all[..] == expected[..], "{} bytes came", all.len());
            });
            (sender, receiver)
        })
        .collect();
    for (sender, receiver) in tasks {
        sender.await.unwrap();
        receiver.await.unwrap();
    }
}

/// The connections wait, and are all there when descriptors are.
#[test]
fn a_shortage_of_descriptors_loses_no_connection() {
    let _alone = alone();
    bounded(|| {
        let limit = getrlimit(Resource::Nofile);
        runtime(2).block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let clients: Vec<_> = (0..10)
                .map(|_| std::net::TcpStream::connect(address).unwrap())
                .collect();
            let lowered = Rlimit {
                current: Some(64),
                maximum: limit.maximum,
            };
            setrlimit(Resource::Nofile, lowered).unwrap();
            let taken: Vec<_> = std::iter::from_fn(|| clients[0].try_clone().ok()).collect();
            for _ in 0..3 {
                let error = listener.accept().await.unwrap_err();
                assert_eq!(
                    error.raw_os_error(),
                    Some(rustix::io::Errno::MFILE.raw_os_error())
                );
            }
            drop(taken);
            for client in &clients {
                let (_, peer) = listener.accept().await.unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
            }
        });
        setrlimit(Resource::Nofile, limit).unwrap();
    });
}

/// The system gives out a path that fills its buffer to the last byte, without the zero that ends it elsewhere.
#[test]
fn a_client_with_the_longest_path_of_all_is_accepted() {
    /// What `sun_path` holds.
    const LONGEST: usize = 108;
    let _alone = alone();
    bounded(|| {
        let folder = std::env::temp_dir().join(format!("heist-net-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let listening = folder.join("listener");
        let mut longest = folder.join("longest").into_os_string().into_encoded_bytes();
        longest.resize(LONGEST, b'x');
        let family = i32::from(Domain::UNIX) as u16;
        let raw = [&family.to_ne_bytes(), longest.as_slice()].concat();
        let write = |storage: *mut SockAddrStorage, length: *mut _| {
            // SAFETY: the storage is larger than any address of a socket.
            unsafe {
                storage
                    .cast::<u8>()
                    .copy_from_nonoverlapping(raw.as_ptr(), raw.len())
            };
            // SAFETY: it is there to be written.
            unsafe { *length = raw.len() as u32 };
            Ok(())
        };
        // SAFETY: an address of this family and length was written.
        let ((), address) = unsafe { SockAddr::try_init(write) }.unwrap();
        runtime(2).block_on(async {
            let listener = UnixListener::bind(&listening).unwrap();
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.bind(&address).unwrap();
            client
                .connect(&SockAddr::unix(&listening).unwrap())
                .unwrap();
            let (_stream, peer) = listener.accept().await.unwrap();
            let path = peer.as_pathname().unwrap().as_os_str();
            assert_eq!(path.as_encoded_bytes(), longest);
        });
        std::fs::remove_dir_all(folder).unwrap();
    });
}

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
