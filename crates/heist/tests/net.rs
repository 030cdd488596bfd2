//! Sockets under many clients. Alone in its process, since it counts descriptors.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(target_os = "linux")]

mod support;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::net::{TcpListener, TcpStream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{bounded, runtime};

const CLIENTS: usize = 1000;
const MESSAGES: usize = 10;

#[test]
fn an_echo_server_gives_every_byte_back_and_closes_what_it_opened() {
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
        let runtime = runtime(4);
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

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
