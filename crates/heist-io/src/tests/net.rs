use super::source::{connection, read, write};
use crate::net::{
    TcpListener, TcpSocket, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};
use crate::tests::harness::{TestRuntime, both, poll_once};
use futures_io::{AsyncRead, AsyncWrite};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{self, Shutdown};
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::time::Duration;

#[test]
fn a_connection_in_both_directions_and_its_end() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (client, server) = connection().await;
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
        client.set_nodelay(true).unwrap();
        assert!(client.nodelay().unwrap());
        let mut buf = [0; 16];
        assert_eq!(write(&client, b"ping").await.unwrap(), 4);
        assert_eq!(server.peek(&mut buf).await.unwrap(), 4);
        assert_eq!(read(&server, &mut buf).await.unwrap(), 4);
        assert_eq!(write(&server, b"pong!").await.unwrap(), 5);
        assert_eq!(read(&client, &mut buf).await.unwrap(), 5);
        assert_eq!(&buf[..5], b"pong!");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&server, &mut buf).await.unwrap(), 0);
    });
}

#[test]
fn vectored_transfers() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (mut client, mut server) = connection().await;
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b"cde")];
        let sent = poll_fn(|cx| Pin::new(&mut client).poll_write_vectored(cx, &parts))
            .await
            .unwrap();
        assert_eq!(sent, 5);
        let (mut one, mut other) = ([0; 3], [0; 8]);
        let mut parts = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
        let got = poll_fn(|cx| Pin::new(&mut server).poll_read_vectored(cx, &mut parts))
            .await
            .unwrap();
        assert_eq!((got, &one, &other[..2]), (5, b"abc", &b"de"[..]));
    });
}

#[test]
fn a_refused_connection_is_refused() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let address = net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_reset_is_an_error_and_no_signal() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        let (client, server) = both(
            socket.connect(listener.local_addr().unwrap()),
            listener.accept(),
        )
        .await;
        drop(client.unwrap());
        let server = server.unwrap().0;
        let error = read(&server, &mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(
            write(&server, b"x").await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    });
}

#[test]
fn the_second_address_is_tried_when_the_first_refuses() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let refused = net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [refused, listener.local_addr().unwrap()];
        let stream = TcpStream::connect(&addresses[..]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
    });
}

#[test]
fn a_name_is_looked_up_on_another_thread() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(format!("localhost:{port}"))
            .await
            .unwrap();
        let error = TcpStream::connect("no port here").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    });
}

/// One edge, several connections.
#[test]
fn every_connection_that_waits_is_accepted() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(poll_once(pin!(listener.accept())).is_pending());
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..50)
            .map(|_| net::TcpStream::connect(address).unwrap())
            .collect();
        for client in &clients {
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
        assert!(poll_once(pin!(listener.accept())).is_pending());
    });
}

#[test]
fn two_tasks_accept_from_one_listener() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mut one, mut other) = (Box::pin(listener.accept()), Box::pin(listener.accept()));
        assert!(poll_once(one.as_mut()).is_pending());
        assert!(poll_once(other.as_mut()).is_pending());
        let _clients = [
            net::TcpStream::connect(address).unwrap(),
            net::TcpStream::connect(address).unwrap(),
        ];
        let (one, other) = both(one, other).await;
        assert_ne!(one.unwrap().1, other.unwrap().1);
    });
}

/// The error is returned, the connection waits on.
#[test]
fn an_accept_without_descriptors_fails_and_recovers() {
    // A limit holds for the whole process, so this runs in one of its own.
    const CHILD: &str = "HEIST_IO_TEST_EMFILE";
    if std::env::var_os(CHILD).is_none() {
        let test = "tests::net::an_accept_without_descriptors_fails_and_recovers";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--test-threads=1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        return;
    }
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let top = client.try_clone().unwrap();
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(top.as_raw_fd() as u64 + 1);
        setrlimit(Resource::Nofile, limit).unwrap();
        let error = listener.accept().await.unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::MFILE.raw_os_error())
        );
        drop(top);
        listener.accept().await.unwrap();
    });
}

#[test]
fn to_the_standard_types_and_back() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (client, server) = connection().await;
        let client = TcpStream::try_from(net::TcpStream::try_from(client).unwrap()).unwrap();
        assert_eq!(write(&client, b"x").await.unwrap(), 1);
        assert_eq!(read(&server, &mut [0; 4]).await.unwrap(), 1);
    });
}

#[test]
fn socket_options_and_reuse_port() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let listen = |address| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.set_nodelay(true).unwrap();
            socket.set_keepalive(Some(Duration::from_secs(60))).unwrap();
            socket.set_recv_buffer_size(100_000).unwrap();
            socket.bind(address).unwrap();
            socket.listen(16).unwrap()
        };
        let one = listen(([127, 0, 0, 1], 0).into());
        let other = listen(one.local_addr().unwrap());
        assert_eq!(one.local_addr().unwrap(), other.local_addr().unwrap());
    });
}

#[test]
fn datagrams() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let one = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut buf = [0; 16];
        let (to, from) = (other.local_addr().unwrap(), one.local_addr().unwrap());
        let (sent, got) = both(one.send_to(b"hi", to), other.recv_from(&mut buf)).await;
        assert_eq!((sent.unwrap(), got.unwrap()), (2, (2, from)));
        other.connect(from).await.unwrap();
        assert_eq!(other.send(b"you").await.unwrap(), 3);
        assert_eq!(one.peek_from(&mut buf).await.unwrap(), (3, to));
        assert_eq!(one.recv(&mut buf).await.unwrap(), 3);
        assert_eq!(
            one.try_recv_from(&mut buf).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    });
}

/// An ICMP error makes the next operation fail, once, and nothing spin.
#[test]
fn an_undeliverable_datagram_is_reported_once() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let gone = net::UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(gone).await.unwrap();
        socket.send(b"x").await.unwrap();
        let mut buf = [0; 4];
        assert_eq!(
            socket.recv(&mut buf).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert!(poll_once(pin!(socket.recv(&mut buf))).is_pending());
    });
}

#[test]
fn unix_sockets() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let path = std::env::temp_dir().join(format!("heist-io-test-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let (client, server) = both(UnixStream::connect(&path), listener.accept()).await;
        std::fs::remove_file(&path).unwrap();
        let (client, (server, peer)) = (client.unwrap(), server.unwrap());
        assert!(peer.is_unnamed());
        assert_eq!(write(&client, b"abc").await.unwrap(), 3);
        assert_eq!(read(&server, &mut [0; 8]).await.unwrap(), 3);
        drop(client);
        assert_eq!(read(&server, &mut [0; 8]).await.unwrap(), 0);
        assert_eq!(
            write(&server, b"x").await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );

        let (one, other) = UnixDatagram::pair().unwrap();
        assert_eq!(one.send(b"d").await.unwrap(), 1);
        assert_eq!(other.recv(&mut [0; 8]).await.unwrap(), 1);
        let error = UnixStream::connect(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    });
}
