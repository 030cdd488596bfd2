//! What sockets do at their edges: full, cut, closed half-way, reset, out of order, and short of descriptors.

use super::source::{read, write};
use crate::fd::Async;
use crate::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use crate::tests::harness::{LIMIT, TestRuntime, both, poll_once};
use futures_io::{AsyncRead, AsyncWrite};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{self, Shutdown};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::Duration;

/// More than fits into the buffers of both sides together.
const MUCH: usize = 16 << 20;

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("heist-io-{name}-{}", std::process::id()))
}

async fn write_all(stream: impl AsyncWrite + Unpin + Copy, data: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < data.len() {
        sent += write(stream, &data[sent..]).await?;
    }
    Ok(())
}

/// Everything up to the end of the stream.
async fn read_to_end(stream: impl AsyncRead + Unpin + Copy) -> io::Result<Vec<u8>> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 65_536]);
    loop {
        match read(stream, &mut buf).await? {
            0 => return Ok(all),
            got => all.extend_from_slice(&buf[..got]),
        }
    }
}

async fn write_vectored(
    mut stream: impl AsyncWrite + Unpin,
    bufs: &[IoSlice<'_>],
) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, bufs)).await
}

async fn read_vectored(
    mut stream: impl AsyncRead + Unpin,
    bufs: &mut [IoSliceMut<'_>],
) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut stream).poll_read_vectored(cx, bufs)).await
}

/// A watched stream and its standard peer, whose waits are bounded too, of each kind.
macro_rules! with_both_kinds {
    ($ours:ident, $theirs:ident, $body:block) => {
        TestRuntime::new().block_on(async {
            {
                let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
                let theirs = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let $ours = TcpStream::try_from(listener.accept().unwrap().0).unwrap();
                theirs.set_read_timeout(Some(LIMIT)).unwrap();
                theirs.set_write_timeout(Some(LIMIT)).unwrap();
                let mut $theirs = theirs;
                $body
            }
            {
                let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                let $ours = UnixStream::try_from(ours).unwrap();
                theirs.set_read_timeout(Some(LIMIT)).unwrap();
                theirs.set_write_timeout(Some(LIMIT)).unwrap();
                let mut $theirs = theirs;
                $body
            }
        })
    };
}

/// A read that fills its buffer says nothing about what is left: one read too many, and none too few.
#[test]
fn a_read_of_exactly_what_is_there_waits_for_more() {
    with_both_kinds!(ours, theirs, {
        let mut buf = [0; 8];
        theirs.write_all(b"12345678").unwrap();
        assert_eq!(read(&ours, &mut buf).await.unwrap(), 8);
        let mut next = Box::pin(read(&ours, &mut buf));
        assert!(poll_once(next.as_mut()).is_pending());
        theirs.write_all(b"12345678abc").unwrap();
        assert_eq!(next.await.unwrap(), 8);
        // The rest has no event of its own.
        assert_eq!(read(&ours, &mut buf).await.unwrap(), 3);
        assert!(poll_once(pin!(read(&ours, &mut buf))).is_pending());
    });
}

/// Last data and end of stream are one event, whether the last read is short or not.
#[test]
fn the_end_is_seen_after_a_read_of_any_length() {
    for len in 1..=8 {
        with_both_kinds!(ours, theirs, {
            let mut buf = [0; 8];
            let mut first = Box::pin(read(&ours, &mut buf));
            assert!(poll_once(first.as_mut()).is_pending());
            theirs.write_all(&b"12345678"[..len]).unwrap();
            drop(theirs);
            assert_eq!(first.await.unwrap(), len);
            assert_eq!(read(&ours, &mut [0; 8]).await.unwrap(), 0);
            assert_eq!(read(&ours, &mut [0; 8]).await.unwrap(), 0);
        });
    }
}

/// The short read comes first, the end later: it is an event of its own.
#[test]
fn the_end_after_a_short_read_wakes_a_read_that_waits() {
    with_both_kinds!(ours, theirs, {
        let mut buf = [0; 8];
        theirs.write_all(b"abc").unwrap();
        assert_eq!(read(&ours, &mut buf).await.unwrap(), 3);
        let mut last = Box::pin(read(&ours, &mut buf));
        assert!(poll_once(last.as_mut()).is_pending());
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(last.await.unwrap(), 0);
    });
}

/// A message that carries a descriptor ends a read early, with more behind it.
#[test]
fn data_behind_a_message_with_a_descriptor_is_not_forgotten() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let ours = UnixStream::try_from(ours).unwrap();
        let mut buf = [0; 64];
        let mut first = Box::pin(read(&ours, &mut buf));
        assert!(poll_once(first.as_mut()).is_pending());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let passed = [theirs.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
        let data = [IoSlice::new(b"abc")];
        rustix::net::sendmsg(&theirs, &data, &mut control, SendFlags::empty()).unwrap();
        (&theirs).write_all(b"def").unwrap();
        // Both are there, as one event.
        let mut got = first.await.unwrap();
        if got == 3 {
            got += read(&ours, &mut [0; 64]).await.unwrap();
        }
        assert_eq!(got, 6);
    });
}

/// The mark of out-of-band data ends a read early, with more behind it.
#[test]
fn data_behind_out_of_band_data_is_not_forgotten() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = TcpStream::try_from(listener.accept().unwrap().0).unwrap();
        let mut buf = [0; 64];
        let mut first = Box::pin(read(&ours, &mut buf));
        assert!(poll_once(first.as_mut()).is_pending());
        (&theirs).write_all(b"abc").unwrap();
        rustix::net::send(&theirs, b"!", SendFlags::OOB).unwrap();
        (&theirs).write_all(b"def").unwrap();
        let mut got = first.await.unwrap();
        while got < 6 {
            got += read(&ours, &mut [0; 64]).await.unwrap();
        }
        assert_eq!(got, 6);
    });
}

#[test]
fn a_half_closed_connection_reads_on() {
    with_both_kinds!(ours, theirs, {
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!(theirs.read(&mut [0; 4]).unwrap(), 0);
        let sender = std::thread::spawn(move || theirs.write_all(&vec![1; MUCH]).unwrap());
        assert_eq!(read_to_end(&ours).await.unwrap().len(), MUCH);
        sender.join().unwrap();
        assert_eq!(
            write(&ours, b"x").await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    });
}

/// The other half: what is written still arrives after the peer has said that it is done.
#[test]
fn a_connection_whose_peer_is_done_writes_on() {
    with_both_kinds!(ours, theirs, {
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&ours, &mut [0; 4]).await.unwrap(), 0);
        let receiver = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all.len()
        });
        write_all(&ours, &vec![1; MUCH]).await.unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receiver.join().unwrap(), MUCH);
    });
}

/// The writer waits for room when the peer goes away with data unread.
#[test]
fn a_reset_in_the_middle_of_a_vectored_write_ends_it() {
    with_both_kinds!(ours, theirs, {
        let part = vec![1; 100_000];
        let parts: Vec<_> = (0..MUCH / part.len())
            .map(|_| IoSlice::new(&part))
            .collect();
        let mut writing = Box::pin(async {
            loop {
                if let Err(error) = write_vectored(&ours, &parts).await {
                    break error;
                }
            }
        });
        ours.writable().await.unwrap();
        assert!(poll_once(writing.as_mut()).is_pending());
        // The peer has read some of it, and closes with the rest unread.
        theirs.read_exact(&mut [0; 10]).unwrap();
        drop(theirs);
        let error = writing.await;
        let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        assert!(kinds.contains(&error.kind()), "{error}");
        // It stays so, and nothing waits for ever.
        assert!(write_vectored(&ours, &parts).await.is_err());
        assert!(matches!(read(&ours, &mut [0; 4]).await, Ok(0) | Err(_)));
    });
}

#[test]
fn a_connection_that_nobody_takes_is_refused() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let path = path("refused");
        drop(UnixListener::bind(&path).unwrap());
        let error = UnixStream::connect(&path).await.unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

/// One edge, several connections.
#[test]
fn every_connection_of_a_unix_listener_is_accepted() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let path = path("many");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(poll_once(pin!(listener.accept())).is_pending());
        let clients: Vec<_> = (0..100)
            .map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap())
            .collect();
        std::fs::remove_file(&path).unwrap();
        for (number, mut client) in clients.into_iter().enumerate() {
            client.write_all(&[number as u8]).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut buf = [0; 4];
            assert_eq!(read(&stream, &mut buf).await.unwrap(), 1);
            assert_eq!(buf[0], number as u8, "in the order of connecting");
        }
        assert!(poll_once(pin!(listener.accept())).is_pending());
    });
}

/// A connection that was reset while it waited is accepted, or left out; the ones behind it are not lost.
#[test]
fn a_connection_that_was_reset_before_accept_hides_no_other() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert!(poll_once(pin!(listener.accept())).is_pending());
        let address = listener.local_addr().unwrap();
        let gone = net::TcpStream::connect(address).unwrap();
        socket2::SockRef::from(&gone)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(gone);
        let stays = net::TcpStream::connect(address).unwrap();
        loop {
            if let Ok((_, peer)) = listener.accept().await {
                if peer == stays.local_addr().unwrap() {
                    break;
                }
            }
        }
    });
}

#[test]
fn a_vectored_transfer_of_more_slices_than_the_system_takes() {
    with_both_kinds!(ours, theirs, {
        let bytes: Vec<u8> = (0..3000).map(|number| number as u8).collect();
        let mut parts: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
        let mut rest = &mut parts[..];
        while !rest.is_empty() {
            let sent = write_vectored(&ours, rest).await.unwrap();
            assert!(sent > 0);
            IoSlice::advance_slices(&mut rest, sent);
        }
        let mut back = vec![0; bytes.len()];
        theirs.read_exact(&mut back).unwrap();
        assert_eq!(back, bytes);
        // And in the other direction, where all of it is there, as one event.
        theirs.write_all(&bytes).unwrap();
        back.fill(0);
        let mut parts: Vec<_> = back.chunks_mut(1).map(IoSliceMut::new).collect();
        let mut rest = &mut parts[..];
        while !rest.is_empty() {
            let got = read_vectored(&ours, rest).await.unwrap();
            IoSliceMut::advance_slices(&mut rest, got);
        }
        assert_eq!(back, bytes);
        // The forms that do not wait are cut likewise.
        let parts: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
        assert!(ours.try_write_vectored(&parts).unwrap() > 0);
        theirs.write_all(&bytes).unwrap();
        ours.readable().await.unwrap();
        let mut parts: Vec<_> = back.chunks_mut(1).map(IoSliceMut::new).collect();
        assert!(ours.try_read_vectored(&mut parts).unwrap() > 0);
    });
}

/// Two descriptors of one description, both watched: each hears of everything.
#[test]
fn a_duplicate_is_a_source_of_its_own() {
    with_both_kinds!(ours, theirs, {
        let one = ours.into_std().unwrap();
        let other = Async::new(one.try_clone().unwrap()).unwrap();
        let one = Async::new(one).unwrap();
        for source in [&one, &other] {
            assert!(poll_once(pin!(source.readable())).is_pending());
        }
        theirs.write_all(b"x").unwrap();
        let (first, second) = both(one.readable(), other.readable()).await;
        first.and(second).unwrap();
        // Who comes second finds it taken, and waits.
        let take = |mut io: &_| Read::read(&mut io, &mut [0; 4]);
        assert_eq!(one.read_with(take).await.unwrap(), 1);
        assert!(poll_once(pin!(other.read_with(take))).is_pending());
        drop(one);
        theirs.write_all(b"y").unwrap();
        assert_eq!(other.read_with(take).await.unwrap(), 1);
    });
}

#[test]
fn a_datagram_longer_than_the_buffer_is_cut_and_the_next_one_is_whole() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let one = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        one.connect(other.local_addr().unwrap()).await.unwrap();
        for data in ["12345678", "abc", ""] {
            assert_eq!(one.send(data.as_bytes()).await.unwrap(), data.len());
        }
        let mut buf = [0; 4];
        assert_eq!(other.peek_from(&mut buf).await.unwrap().0, 4);
        assert_eq!(other.recv(&mut buf).await.unwrap(), 4);
        assert_eq!(&buf, b"1234");
        assert_eq!(other.recv_from(&mut buf).await.unwrap().0, 3);
        // An empty one is a datagram too, and not an end.
        assert_eq!(other.recv(&mut buf).await.unwrap(), 0);
        assert!(poll_once(pin!(other.recv(&mut buf))).is_pending());
    });
}

#[test]
fn unix_datagrams_keep_their_limits_and_are_cut() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (one, other) = UnixDatagram::pair().unwrap();
        for data in ["12345678", "abc", ""] {
            assert_eq!(one.send(data.as_bytes()).await.unwrap(), data.len());
        }
        let mut buf = [0; 4];
        for expected in [4, 3, 0] {
            assert_eq!(other.recv(&mut buf).await.unwrap(), expected);
        }
        let error = one.send(&vec![0; MUCH]).await.unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::MSGSIZE.raw_os_error())
        );
    });
}

/// The queue of the receiver is full: the sender waits, and none of them is lost.
#[test]
fn a_unix_datagram_waits_for_room() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (one, other) = UnixDatagram::pair().unwrap();
        let send = async {
            for number in 0..1000_u32 {
                one.send(&number.to_ne_bytes()).await.unwrap();
            }
        };
        let receive = async {
            let mut buf = [0; 8];
            for number in 0..1000_u32 {
                assert_eq!(other.recv(&mut buf).await.unwrap(), 4);
                assert_eq!(buf[..4], number.to_ne_bytes());
            }
        };
        both(send, receive).await;
        let mut sent = 0;
        while one.try_send(b"x").is_ok() {
            sent += 1;
        }
        assert!(sent > 0);
        let mut waiting = Box::pin(one.send(b"last"));
        assert!(poll_once(waiting.as_mut()).is_pending());
        for _ in 0..sent {
            other.recv(&mut [0; 8]).await.unwrap();
        }
        assert_eq!(waiting.await.unwrap(), 4);
    });
}

#[test]
fn a_unix_datagram_reaches_a_receiver_that_others_had_filled() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let path = path("filled");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let filler = std::os::unix::net::UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while filler.send_to(b"x", &path).is_ok() {
            sent += 1;
        }
        let sender = UnixDatagram::unbound().unwrap();
        sender.writable().await.unwrap();
        let mut waiting = Box::pin(sender.send_to(b"last", &path));
        assert!(poll_once(waiting.as_mut()).is_pending());
        for _ in 0..sent {
            receiver.recv(&mut [0; 8]).await.unwrap();
        }
        assert_eq!(waiting.await.unwrap(), 4);
        std::fs::remove_file(&path).unwrap();
    });
}
