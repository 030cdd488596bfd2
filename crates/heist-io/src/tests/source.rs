use crate::fd::{Async, Interest, Ready};
use crate::net::{TcpListener, TcpStream};
use crate::tests::harness::{LIMIT, TestRuntime, both, poll_once};
use futures_io::{AsyncRead, AsyncWrite};
use heist_core::driver::{Driver, Wait};
use std::env;
use std::future::poll_fn;
use std::hint;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

pub(super) async fn read(mut stream: impl AsyncRead + Unpin, buf: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, buf)).await
}

pub(super) async fn write(mut stream: impl AsyncWrite + Unpin, buf: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, buf)).await
}

pub(super) async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = both(TcpStream::connect(address), listener.accept()).await;
    (client.unwrap(), server.unwrap().0)
}

#[test]
fn outside_of_any_runtime_the_error_says_what_to_do() {
    let error = Async::new(UnixStream::pair().unwrap().0).unwrap_err();
    assert!(error.to_string().contains("in a task"), "{error}");
    let name = format!("heist-outside-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    crate::net::UnixListener::bind(&path).unwrap_err();
    assert!(!path.exists(), "it would be in the way of the next one");
}

#[test]
fn a_regular_file_is_refused_by_the_poller() {
    let runtime = TestRuntime::new();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    assert!(runtime.block_on(async { Async::new(file) }).is_err());
}

#[test]
fn a_pipe_is_readable_when_something_was_written() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let reader = Async::new(reader).unwrap();
        let mut writer = std::fs::File::from(writer);
        let mut readable = Box::pin(reader.readable());
        assert!(poll_once(readable.as_mut()).is_pending());
        writer.write_all(b"x").unwrap();
        readable.await.unwrap();
        drop(writer);
        let ready = loop {
            let ready = reader.ready(Interest::Readable).await.unwrap();
            if ready.is_read_closed() {
                break ready;
            }
            runtime.io.turn(0, Wait::Never);
        };
        assert!(ready.is_readable());
        drop(reader.into_inner().unwrap());
    });
}

#[test]
fn any_number_of_tasks_may_wait_in_readable() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Async::new(ours).unwrap();
        let mut waits: Vec<_> = (0..5).map(|_| Box::pin(ours.readable())).collect();
        for wait in &mut waits {
            assert!(poll_once(wait.as_mut()).is_pending());
        }
        drop(waits.remove(2));
        theirs.write_all(b"x").unwrap();
        for wait in waits {
            wait.await.unwrap();
        }
    });
}

/// Both directions of one socket, by two tasks.
#[test]
fn a_reader_and_a_writer_do_not_take_each_others_events() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (one, other) = connection().await;
        let data = vec![7; 4 << 20];
        let send = async {
            let mut sent = 0;
            while sent < data.len() {
                sent += write(&one, &data[sent..]).await.unwrap();
            }
        };
        let echo = async {
            let mut left = data.len();
            let mut buf = vec![0; 100_000];
            while left > 0 {
                let got = read(&other, &mut buf).await.unwrap();
                left -= got;
                let mut sent = 0;
                while sent < got {
                    sent += write(&other, &buf[sent..got]).await.unwrap();
                }
            }
        };
        let receive = async {
            let mut left = data.len();
            let mut buf = vec![0; 50_000];
            while left > 0 {
                left -= read(&one, &mut buf).await.unwrap();
            }
        };
        both(both(send, receive), echo).await;
    });
}

/// The end of the stream is in the same event as the last data.
#[test]
fn the_end_of_the_stream_after_a_short_read_is_seen() {
    let runtime = TestRuntime::new();
    for size in [5, 8] {
        runtime.block_on(async {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let ours = crate::net::UnixStream::from_std(ours).unwrap();
            let mut buf = [0; 8];
            let mut first = Box::pin(read(&ours, &mut buf));
            assert!(poll_once(first.as_mut()).is_pending());
            theirs.write_all(&b"12345678"[..size]).unwrap();
            drop(theirs);
            assert_eq!(first.await.unwrap(), size);
            assert_eq!(read(&ours, &mut [0; 8]).await.unwrap(), 0);
            assert_eq!(read(&ours, &mut [0; 8]).await.unwrap(), 0);
        });
    }
}

#[test]
fn data_after_a_short_read_is_seen() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (one, other) = connection().await;
        let mut buf = [0; 64];
        for _ in 0..1000 {
            assert_eq!(write(&one, b"hello").await.unwrap(), 5);
            assert_eq!(read(&other, &mut buf).await.unwrap(), 5);
        }
    });
}

/// A closed direction that would block is tried once per event.
#[test]
fn a_permanent_hang_up_does_not_spin() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ours = Async::new(ours).unwrap();
        drop(theirs);
        while !ours
            .ready(Interest::Readable)
            .await
            .unwrap()
            .is_read_closed()
        {}
        let mut tries = 0;
        let op = ours.read_with(|_| -> io::Result<()> {
            tries += 1;
            Err(io::ErrorKind::WouldBlock.into())
        });
        assert!(poll_once(pin!(op)).is_pending());
        assert_eq!(tries, 1);
    });
}

/// The fd is closed behind our back and its number is used again.
#[test]
fn a_descriptor_that_was_closed_and_used_again() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let number = ours.as_raw_fd();
        let ours = Async::new(ours).unwrap();
        // The place of `ours` is taken by another description, which nobody registered.
        let (another, mut peer) = UnixStream::pair().unwrap();
        let mut slot = std::mem::ManuallyDrop::new(unsafe_owned(number));
        rustix::io::dup2(&another, &mut slot).unwrap();
        drop(another);
        peer.write_all(b"x").unwrap();
        runtime.io.turn(0, Wait::Never);
        let _ = theirs;
        // Deregistering finds nothing, and that is no error.
        drop(ours);
        // The place in the table is used again; what comes late is for the old generation.
        let (fresh, mut peer) = UnixStream::pair().unwrap();
        let fresh = Async::new(fresh).unwrap();
        assert!(poll_once(pin!(fresh.readable())).is_pending());
        peer.write_all(b"y").unwrap();
        fresh.readable().await.unwrap();
    });
}

#[allow(unsafe_code, reason = "the test does what no safe program can")]
fn unsafe_owned(number: i32) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the caller forgets it; the real owner closes it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// A duplicate keeps the description alive, so its events go on after the drop.
#[test]
fn a_dropped_source_with_a_living_duplicate_is_quiet() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut duplicate = ours.try_clone().unwrap();
        drop(Async::new(ours).unwrap());
        theirs.write_all(b"x").unwrap();
        assert_eq!(runtime.io.turn(0, Wait::Never), 0);
        assert_eq!(duplicate.read(&mut [0; 4]).unwrap(), 1);
    });
}

#[test]
fn try_io_notes_that_it_would_block() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Async::new(ours).unwrap();
        let mut buf = [0; 1];
        let mut read = || {
            ours.try_io(Interest::Readable, |mut io| io.read(&mut buf))
                .map_err(|error| error.kind())
        };
        assert_eq!(read(), Err(io::ErrorKind::WouldBlock));
        theirs.write_all(b"ab").unwrap();
        assert_eq!(
            read(),
            Err(io::ErrorKind::WouldBlock),
            "nobody has told the word"
        );
        runtime.io.turn(0, Wait::Never);
        assert_eq!((read(), read()), (Ok(1), Ok(1)));
        assert_eq!(read(), Err(io::ErrorKind::WouldBlock));
    });
}

#[test]
fn an_unpark_that_races_with_the_sleep_is_never_lost() {
    const ROUNDS: usize = 20_000;
    let runtime = TestRuntime::new();
    let rounds = env::var("HEIST_RACES").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let (sender, receiver) = sync_channel::<usize>(1);
    // One side is late in even rounds, the other one in odd rounds: most often a little, for both are fast.
    let delay = |round: usize| {
        for _ in 0..(round % 300).pow(3) / 9_000 {
            hint::spin_loop();
        }
    };
    let other = thread::spawn({
        let runtime = runtime.clone();
        move || {
            loop {
                match receiver.try_recv() {
                    Ok(round) => {
                        if round % 2 == 0 {
                            delay(round);
                        }
                        runtime.io.unpark();
                    }
                    Err(TryRecvError::Empty) => thread::yield_now(),
                    Err(TryRecvError::Disconnected) => break,
                }
            }
        }
    });
    let end = Instant::now() + LIMIT * rounds.div_ceil(ROUNDS) as u32;
    // A long sleep may end somewhat early.
    let late = end + Duration::from_secs(1);
    for round in 0..rounds {
        sender.send(round).unwrap();
        if round % 2 == 1 {
            delay(round);
        }
        runtime.io.turn(0, Wait::Until(late));
        assert!(Instant::now() < end, "an unpark was lost");
    }
    drop(sender);
    other.join().unwrap();
}

#[test]
fn debug_says_what_is_known() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let ours = Async::assume(ours, Ready::READABLE).unwrap();
        assert!(format!("{ours:?}").contains("READABLE"));
    });
    assert_eq!(
        runtime
            .io
            .turn(0, Wait::Until(Instant::now() + Duration::from_millis(1))),
        0
    );
}
