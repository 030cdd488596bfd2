use super::source::{connection, read};
use crate::net::{
    TcpListener, TcpSocket, UdpSocket, UnixDatagram, UnixListener, UnixStream, lookup_host,
};
use crate::tests::harness::{TestRuntime, both};
use futures_core::Stream;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{self, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::time::Duration;

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn lookup_host_gives_at_least_one_address_or_an_error() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let found: Vec<_> = lookup_host("localhost:80").await.unwrap().collect();
        assert!(!found.is_empty());
        assert!(
            found
                .iter()
                .all(|it| it.ip().is_loopback() && it.port() == 80)
        );
        let address: SocketAddr = "[::1]:7".parse().unwrap();
        assert!(lookup_host(address).await.unwrap().eq([address]));
        let none: &[SocketAddr] = &[];
        for error in [
            lookup_host(none).await.unwrap_err(),
            lookup_host("without-a-port").await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert!(lookup_host("a name with spaces:1").await.is_err());
    });
    let address = (Ipv4Addr::LOCALHOST, 1);
    let mut outside = std::pin::pin!(lookup_host(address));
    assert!(super::harness::poll_once(outside.as_mut()).is_ready());
}

#[test]
fn options_of_a_connection_are_read_back() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (client, _server) = connection().await;
        assert_eq!(client.linger().unwrap(), None);
        for linger in [Some(Duration::ZERO), Some(Duration::from_secs(3)), None] {
            client.set_linger(linger).unwrap();
            assert_eq!(client.linger().unwrap(), linger);
        }
        for (idle, on) in [(Some(Duration::from_secs(60)), true), (None, false)] {
            client.set_keepalive(idle).unwrap();
            assert_eq!(client.keepalive().unwrap(), on);
        }
        client.set_ttl(9).unwrap();
        assert_eq!(client.ttl().unwrap(), 9);
        assert!(client.take_error().unwrap().is_none());
    });
}

/// Zero: the drop resets the connection, as `abort` does.
#[test]
fn a_linger_of_zero_resets_the_connection() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (client, server) = connection().await;
        client.set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let error = read(&server, &mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

/// Until there is something, there is not; after that, all of it.
#[test]
fn streams_try_without_waiting() {
    macro_rules! check {
        ($one:expr, $other:expr) => {
            let (one, other) = ($one, $other);
            let mut buf = [0; 8];
            assert!(would_block(&other.try_read(&mut buf)));
            one.writable().await.unwrap();
            assert_eq!(one.try_write(b"abc").unwrap(), 3);
            let parts = [IoSlice::new(b"de"), IoSlice::new(b"f")];
            assert_eq!(one.try_write_vectored(&parts).unwrap(), 3);
            other.readable().await.unwrap();
            assert_eq!(other.try_read(&mut buf[..2]).unwrap(), 2);
            let (first, last) = buf.split_at_mut(3);
            let mut parts = [IoSliceMut::new(first), IoSliceMut::new(last)];
            assert_eq!(other.try_read_vectored(&mut parts).unwrap(), 4);
            assert_eq!(&buf[..4], b"cdef");
            assert!(would_block(&other.try_read(&mut buf)));
            drop(one);
            other.readable().await.unwrap();
            assert_eq!(other.try_read(&mut buf).unwrap(), 0);
        };
    }
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (one, other) = connection().await;
        check!(one, other);
        let (one, other) = UnixStream::pair().unwrap();
        check!(one, other);
    });
}

#[test]
fn datagrams_are_peeked_at_and_tried() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let one = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (from, to) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let mut buf = [0; 8];
        one.connect(to).await.unwrap();
        other.connect(from).await.unwrap();
        assert_eq!(one.peer_addr().unwrap(), to);
        assert!(would_block(&other.try_recv(&mut buf)));
        assert!(would_block(&other.try_recv_from(&mut buf)));
        one.writable().await.unwrap();
        assert_eq!(one.try_send(b"one").unwrap(), 3);
        assert_eq!(one.try_send_to(b"four", to).unwrap(), 4);
        assert_eq!(other.peek(&mut buf).await.unwrap(), 3);
        assert_eq!(other.peek_from(&mut buf).await.unwrap(), (3, from));
        assert_eq!(other.try_recv(&mut buf).unwrap(), 3);
        assert_eq!(other.try_recv_from(&mut buf).unwrap(), (4, from));
        assert!(would_block(&other.try_recv(&mut buf)));
    });
}

#[test]
fn options_of_a_datagram_socket_are_read_back() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert!(!socket.broadcast().unwrap());
        socket.set_broadcast(true).unwrap();
        assert!(socket.broadcast().unwrap());
        socket.set_ttl(3).unwrap();
        assert_eq!(socket.ttl().unwrap(), 3);
        socket.set_multicast_loop_v4(false).unwrap();
        assert!(!socket.multicast_loop_v4().unwrap());
    });
}

/// A group is joined once and left once.
#[test]
fn multicast_groups_are_joined_and_left() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (group, interface) = (Ipv4Addr::new(239, 255, 77, 1), Ipv4Addr::LOCALHOST);
        let receiver = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        receiver.join_multicast_v4(group, interface).unwrap();
        assert!(receiver.join_multicast_v4(group, interface).is_err());
        // The sender's interface is the loopback: nothing leaves this machine.
        let sender =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        sender.set_multicast_if_v4(&interface).unwrap();
        let sender = UdpSocket::try_from(net::UdpSocket::from(sender)).unwrap();
        let port = receiver.local_addr().unwrap().port();
        sender.send_to(b"all", (group, port)).await.unwrap();
        assert_eq!(receiver.recv(&mut [0; 8]).await.unwrap(), 3);
        receiver.leave_multicast_v4(group, interface).unwrap();
        assert!(receiver.leave_multicast_v4(group, interface).is_err());
    });
}

#[test]
fn multicast_groups_of_ipv6_are_joined_and_left() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        // A machine without IPv6 has no groups of it either.
        let Ok(socket) = UdpSocket::bind("[::1]:0").await else {
            return;
        };
        let group = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 0x77);
        socket.join_multicast_v6(&group, 1).unwrap();
        assert!(socket.join_multicast_v6(&group, 1).is_err());
        socket.leave_multicast_v6(&group, 1).unwrap();
        assert!(socket.leave_multicast_v6(&group, 1).is_err());
    });
}

#[test]
fn unix_datagrams_with_and_without_addresses() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let path = std::env::temp_dir().join(format!("heist-io-dgram-{}", std::process::id()));
        let receiver = UnixDatagram::bind(&path).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let mut buf = [0; 8];
        assert!(would_block(&receiver.try_recv(&mut buf)));
        sender.writable().await.unwrap();
        assert_eq!(sender.try_send_to(b"a", &path).unwrap(), 1);
        let (sent, got) = both(sender.send_to(b"bc", &path), receiver.recv_from(&mut buf)).await;
        let (length, from) = got.unwrap();
        assert_eq!((sent.unwrap(), length), (2, 1));
        assert!(from.is_unnamed());
        sender.connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            sender.peer_addr().unwrap().as_pathname(),
            Some(path.as_path())
        );
        assert_eq!(
            receiver.local_addr().unwrap().as_pathname(),
            Some(path.as_path())
        );
        assert_eq!(sender.try_send(b"def").unwrap(), 3);
        receiver.readable().await.unwrap();
        assert_eq!(receiver.try_recv(&mut buf).unwrap(), 2);
        assert_eq!(receiver.try_recv_from(&mut buf).unwrap().0, 3);
        sender.shutdown(net::Shutdown::Write).unwrap();
        assert_eq!(
            sender.send(b"x").await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    });
}

#[test]
fn the_connections_of_a_listener_are_a_stream() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.set_ttl(7).unwrap();
        assert_eq!(listener.ttl().unwrap(), 7);
        let address = listener.local_addr().unwrap();
        let clients = [
            net::TcpStream::connect(address).unwrap(),
            net::TcpStream::connect(address).unwrap(),
        ];
        let mut incoming = listener.incoming();
        for client in &clients {
            let accepted = poll_fn(|cx| Pin::new(&mut incoming).poll_next(cx))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
        }
    });
}

/// The number stays, and nobody closes it on the way.
#[test]
fn every_socket_gives_its_descriptor_away() {
    macro_rules! check {
        ($($socket:expr),*) => {$(
            let socket = $socket;
            let number = socket.as_raw_fd();
            let owned = OwnedFd::from(socket);
            assert_eq!(owned.as_raw_fd(), number);
            assert!(rustix::io::fcntl_getfd(&owned).is_ok());
            assert_eq!(owned.into_raw_fd(), number);
            // SAFETY: it was given away just now.
            #[allow(unsafe_code, reason = "the other side of `into_raw_fd`")]
            drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) });
        )*};
    }
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let path = std::env::temp_dir().join(format!("heist-io-fd-{}", std::process::id()));
        check!(
            connection().await.0,
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpSocket::new_v4().unwrap(),
            UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            UnixStream::pair().unwrap().0,
            UnixDatagram::unbound().unwrap(),
            UnixListener::bind(&path).unwrap()
        );
        std::fs::remove_file(&path).unwrap();
    });
}
