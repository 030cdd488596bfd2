//! A poller that refuses a source, or fails.

use crate::fd::Async;
use crate::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixStream};
use crate::sync::Acquire;
use crate::sync::selector::calls::{Call, failing};
use crate::tests::harness::TestRuntime;
use crate::time::sleep;
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

#[test]
fn what_the_poller_refuses_leaves_no_place_in_the_table() {
    let runtime = TestRuntime::new();
    let file = File::open("/proc/self/exe").unwrap();
    runtime.block_on(async {
        for _ in 0..1000 {
            let error = Async::new(file.try_clone().unwrap()).unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(Errno::PERM));
        }
    });
    let (used, made) = runtime.io.reactor().places();
    assert_eq!(used, 0);
    assert!(made < 10, "{made} places");
}

#[test]
fn a_poller_that_is_full_says_so_and_takes_sources_again_when_there_is_room() {
    let runtime = TestRuntime::new();
    let local = "127.0.0.1:0";
    let listener = runtime.block_on(TcpListener::bind(local)).unwrap();
    let address = listener.local_addr().unwrap();
    let open = || {
        runtime.block_on(async {
            let _peer = std::net::TcpStream::connect(address).unwrap();
            [
                listener.accept().await.map(drop),
                TcpStream::connect(address).await.map(drop),
                TcpListener::bind(local).await.map(drop),
                UdpSocket::bind(local).await.map(drop),
                UnixStream::pair().map(drop),
                UnixDatagram::pair().map(drop),
                Async::new(StdUnixStream::pair().unwrap().0).map(drop),
            ]
        })
    };
    let (results, tries) = failing(Call::Add, Errno::NOSPC, open);
    assert_eq!(tries, results.len());
    for result in results {
        assert_eq!(
            Errno::from_io_error(&result.unwrap_err()),
            Some(Errno::NOSPC)
        );
    }
    assert_eq!(runtime.io.reactor().places().0, 1);
    for result in open() {
        result.unwrap();
    }
}

#[test]
fn a_poller_that_fails_is_reported_once_and_does_not_spin() {
    let runtime = TestRuntime::new();
    let sleeps = || runtime.block_on(async { sleep(Duration::from_millis(50)).await });
    let ((), tries) = failing(Call::Wait, Errno::BADF, sleeps);
    assert!(tries < 50, "{tries} waits");
    assert_eq!(runtime.problems.load(Acquire), 1);
}

#[test]
fn a_timer_that_cannot_be_set_is_waited_for_all_the_same() {
    let runtime = TestRuntime::new();
    let sleeps = || runtime.block_on(async { sleep(Duration::from_millis(50)).await });
    let ((), tries) = failing(Call::SetTimer, Errno::INVAL, sleeps);
    assert!(tries < 50, "{tries} waits");
    assert_eq!(runtime.problems.load(Acquire), 0);
}
