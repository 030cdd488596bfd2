//! Peers that refuse, reset, close halfway or vanish, on several workers and with the halves of a stream in two tasks.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(unix)]

mod support;

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use heist::io::Async;
use heist::net::{TcpListener, TcpStream, UnixStream};
use heist::{Runtime, Task};
use socket2::SockRef;
use support::{bounded, lone_worker, runtime};

/// A stream of a runtime, and its peer in the hands of the test.
fn tcp(runtime: &Runtime) -> (TcpStream, std::net::TcpStream) {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = runtime.block_on(listener.accept()).unwrap();
    (stream, peer)
}

/// Closes so that the other side is reset.
fn reset(peer: std::net::TcpStream) {
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

fn spawn<F: Future<Output = io::Result<T>> + Send + 'static, T: Send + 'static>(
    runtime: &Runtime,
    future: F,
) -> Task<io::Result<T>> {
    runtime.spawn(future)
}

/// More than the buffers of both sides hold.
const MUCH: usize = 32 << 20;

#[test]
fn a_connection_that_nobody_takes_is_refused() {
    bounded(|| {
        let runtime = runtime(2);
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let refused = runtime.block_on(TcpStream::connect(address)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let missing = UnixStream::connect("/nonexistent/socket");
        let missing = runtime.block_on(missing).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        // The addresses of a name are tried in turn.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = [address, listener.local_addr().unwrap()];
        let stream = runtime.block_on(TcpStream::connect(&there[..])).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), there[1]);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_is_refused_only_after_connect_has_begun_to_wait_says_so() {
    use std::net::SocketAddrV4;

    use futures_lite::future::poll_once;
    use socket2::{Domain, Socket, Type};

    bounded(|| {
        let runtime = runtime(1);
        let tcp = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = tcp();
        let any = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let there = listener.local_addr().unwrap();
        // The queue is full after the first one: the system leaves the others unanswered.
        let crowd = [(); 4].map(|()| {
            let socket = tcp();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&there);
            socket
        });
        let refused = runtime.block_on(async {
            let mut connect = Box::pin(TcpStream::connect(there.as_socket().unwrap()));
            for _ in 0..3 {
                assert!(poll_once(&mut connect).await.is_none());
                heist::time::sleep(Duration::from_millis(5)).await;
            }
            drop(listener);
            // At its next try, a second after the first.
            connect.await.unwrap_err()
        });
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
        drop(crowd);
    });
}

/// Has the signal of a broken pipe end this process, as it does where Rust's own `main` has not had it ignored.
fn restore_the_signal_of_a_broken_pipe() {
    // SAFETY: the default action is no code of this process, and nobody else here sets one for this signal.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

#[test]
fn a_peer_that_is_gone_is_an_error_where_its_signal_would_end_the_process() {
    use std::os::unix::process::ExitStatusExt;

    use heist::net::{UdpSocket, UnixDatagram};

    const PIPE: &str = "HEIST_TEST_PIPE";
    async fn fails<S: futures_lite::AsyncWrite + Unpin>(mut stream: S, what: &str) {
        let parts = [IoSlice::new(b"a"), IoSlice::new(b"b")];
        // The first ones may still fit into a buffer.
        while stream.write(b"a").await.is_ok() {}
        for written in [
            stream.write(b"a").await,
            stream.write_vectored(&parts).await,
        ] {
            let error = written.expect_err(what);
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{what}: {error}");
        }
    }

    let Some(mut command) = support::child() else {
        restore_the_signal_of_a_broken_pipe();
        if std::env::var_os(PIPE).is_some() {
            let (reading, writing) = rustix::pipe::pipe().unwrap();
            drop(reading);
            let _ = rustix::io::write(&writing, b"a");
            unreachable!("the signal has no effect");
        }
        let runtime = runtime(1);
        let (stream, peer) = tcp(&runtime);
        drop(peer);
        runtime.block_on(async {
            while stream.try_write(b"a").is_ok() {}
            assert!(stream.try_write(b"a").is_err());
            let parts = [IoSlice::new(b"a"), IoSlice::new(b"b")];
            assert!(stream.try_write_vectored(&parts).is_err());
            fails(&stream, "TcpStream").await;
            let (_reading, writing) = stream.into_split();
            fails(writing, "half of a TcpStream").await;

            let (stream, peer) = UnixStream::pair().unwrap();
            drop(peer);
            assert!(stream.try_write(b"a").is_err());
            let parts = [IoSlice::new(b"a"), IoSlice::new(b"b")];
            assert!(stream.try_write_vectored(&parts).is_err());
            fails(&stream, "UnixStream").await;
            let (_reading, writing) = stream.into_split();
            fails(writing, "half of a UnixStream").await;

            let (datagram, peer) = UnixDatagram::pair().unwrap();
            drop(peer);
            assert!(datagram.send(b"a").await.is_err());
            assert!(datagram.try_send(b"a").is_err());
            datagram.shutdown(Shutdown::Write).unwrap();
            let error = datagram.send(b"a").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);

            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            udp.connect(peer.local_addr().unwrap()).await.unwrap();
            drop(peer);
            // The answer to the first one refuses the next.
            while udp.send(b"a").await.is_ok() {}
            while udp.try_send(b"a").is_ok() {}
        });
        println!("lives");
        return;
    };
    bounded(move || {
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {errors}", output.status);
        assert!(text.contains("lives"), "{text}\n{errors}");
        // The signal would have ended it.
        let status = command.env(PIPE, "1").output().unwrap().status;
        assert_eq!(status.signal(), Some(libc::SIGPIPE));
    });
}

#[test]
fn a_reset_ends_a_read_and_a_write_in_two_tasks() {
    bounded(|| {
        let runtime = runtime(4);
        let much: Arc<[u8]> = vec![1; MUCH].into();
        for _ in 0..100 {
            let (stream, peer) = tcp(&runtime);
            let (mut reading, mut writing) = stream.into_split();
            let read = spawn(&runtime, async move { reading.read(&mut [0; 16]).await });
            let much = Arc::clone(&much);
            let write = spawn(&runtime, async move { writing.write_all(&much).await });
            // Something has come, so that the reset finds the writer in its write.
            (&peer).read_exact(&mut [0; 1024]).unwrap();
            reset(peer);
            let read = read.wait_blocking().unwrap().map_err(|error| error.kind());
            let write = write.wait_blocking().unwrap().map_err(|error| error.kind());
            // The system tells of the reset once: to whoever comes first. The other one finds an end, or a broken pipe.
            match (read, write) {
                (Ok(0), Err(ErrorKind::ConnectionReset)) => {}
                (Err(ErrorKind::ConnectionReset), Err(ErrorKind::BrokenPipe)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_peer_that_vanishes_in_the_middle_of_a_vectored_write_ends_it() {
    bounded(|| {
        let runtime = runtime(2);
        let (tcp, tcp_peer) = tcp(&runtime);
        let (unix, unix_peer) = {
            let _entered = runtime.enter();
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            (UnixStream::try_from(ours).unwrap(), theirs)
        };
        async fn all<S: futures_lite::AsyncWrite + Unpin>(mut stream: S) -> io::Result<usize> {
            let part = vec![7; MUCH / 4];
            let mut written = 0;
            while written < MUCH {
                let parts = [IoSlice::new(&part), IoSlice::new(&part)];
                written += stream.write_vectored(&parts).await?;
            }
            Ok(written)
        }
        let tcp = spawn(&runtime, all(tcp));
        let unix = spawn(&runtime, all(unix));
        (&tcp_peer).read_exact(&mut [0; 4096]).unwrap();
        (&unix_peer).read_exact(&mut [0; 4096]).unwrap();
        drop((tcp_peer, unix_peer));
        for written in [tcp, unix] {
            let error = written.wait_blocking().unwrap().unwrap_err();
            let expected = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(expected.contains(&error.kind()), "{error}");
        }
    });
}

#[test]
fn a_half_that_is_closed_leaves_the_other_one_open() {
    bounded(|| {
        let runtime = runtime(2);
        let (stream, mut peer) = tcp(&runtime);
        let (mut reading, mut writing) = stream.into_split();
        let read = spawn(&runtime, async move {
            let mut all = Vec::new();
            reading.read_to_end(&mut all).await?;
            Ok(all)
        });
        peer.write_all(b"question").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read.wait_blocking().unwrap().unwrap(), b"question");
        let write = spawn(&runtime, async move {
            writing.write_all(&[1; 100_000]).await?;
            writing.close().await
        });
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        write.wait_blocking().unwrap().unwrap();
        assert_eq!(answer, [1; 100_000]);
    });
}

/// What waits for something else is left alone by a hang-up that stays.
#[test]
fn a_permanent_hang_up_does_not_keep_the_driver_awake() {
    bounded(|| {
        let runtime = lone_worker();
        let (stream, peer) = tcp(&runtime);
        let (reading, _writing) = {
            let _entered = runtime.enter();
            let (reading, writing) = rustix::pipe::pipe().unwrap();
            rustix::io::ioctl_fionbio(reading.as_fd(), true).unwrap();
            (Async::new(reading).unwrap(), drop(writing))
        };
        drop(peer);
        runtime.block_on(async {
            // Both ends are seen, and nobody waits for anything of theirs after that.
            assert_eq!((&stream).read(&mut [0; 1]).await.unwrap(), 0);
            let end = reading.read_with(|fd| Ok(rustix::io::read(fd, &mut [0; 1])?));
            assert_eq!(end.await.unwrap(), 0);
            let before = turns(&runtime);
            for _ in 0..20 {
                heist::time::sleep(Duration::from_millis(5)).await;
            }
            let turns = turns(&runtime) - before;
            assert!(turns < 200, "{turns} turns for 20 timers");
        });
    });
}

fn turns(runtime: &Runtime) -> u64 {
    let workers = runtime.handle().metrics().workers;
    workers.iter().map(|worker| worker.driver_turns).sum()
}

/// Connections come and go on other threads while their data is on the way.
#[test]
fn clients_that_come_and_go_lose_nothing_and_leave_nothing() {
    const CLIENTS: usize = 8;
    const TIMES: usize = 200;
    bounded(|| {
        let runtime = runtime(2);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = runtime.spawn(async move {
            let mut answered = Vec::new();
            while answered.len() < CLIENTS * TIMES {
                let (mut stream, _) = listener.accept().await?;
                answered.push(heist::spawn(async move {
                    let mut question = [0; 4];
                    // Every other client hangs up in mid-question.
                    if stream.read_exact(&mut question).await.is_err() {
                        return false;
                    }
                    let _ = stream.write_all(&question).await;
                    true
                }));
            }
            let mut whole = 0;
            for task in answered {
                whole += usize::from(task.await.unwrap());
            }
            io::Result::Ok(whole)
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| thread::spawn(move || drive(address, client, TIMES)))
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        let whole = runtime.block_on(server).unwrap().unwrap();
        assert_eq!(whole, CLIENTS * TIMES / 2);
    });
}

fn drive(address: SocketAddr, client: usize, times: usize) {
    for n in 0..times {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        if n % 2 == 0 {
            let question = [client as u8, n as u8, 3, 4];
            stream.write_all(&question).unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, question);
        } else {
            stream.write_all(&[0; 2]).unwrap();
            if n % 4 == 1 {
                reset(stream);
            }
        }
    }
}
