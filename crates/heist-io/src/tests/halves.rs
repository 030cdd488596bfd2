use super::source::{connection, read, write};
use crate::net::{Connection, OwnedReadHalf, OwnedWriteHalf, UnixStream};
use crate::tests::harness::{TestRuntime, both, poll_once};
use futures_io::{AsyncRead, AsyncWrite};
use std::future::poll_fn;
use std::io::{IoSlice, IoSliceMut};
use std::pin::{Pin, pin};

type Halves<S> = (OwnedReadHalf<S>, OwnedWriteHalf<S>);

/// Runs `$check`, which is generic over the connection, with two ends of each kind.
macro_rules! with_both_kinds {
    ($check:ident) => {
        TestRuntime::new().block_on(async {
            let (one, other) = connection().await;
            $check(one.into_split(), other.into_split()).await;
            let (one, other) = UnixStream::pair().unwrap();
            $check(one.into_split(), other.into_split()).await;
        })
    };
}

#[test]
fn dropping_the_writing_half_ends_the_stream() {
    with_both_kinds!(check);
    async fn check<S: Connection>(
        (mut reading, mut writing): Halves<S>,
        (mut peer_reading, mut peer_writing): Halves<S>,
    ) {
        let mut buf = [0; 8];
        assert_eq!(write(&mut writing, b"last").await.unwrap(), 4);
        drop(writing);
        assert_eq!(read(&mut peer_reading, &mut buf).await.unwrap(), 4);
        assert_eq!(read(&mut peer_reading, &mut buf).await.unwrap(), 0);
        assert_eq!(write(&mut peer_writing, b"yes").await.unwrap(), 3);
        assert_eq!(read(&mut reading, &mut buf).await.unwrap(), 3);
        assert_eq!(&buf[..3], b"yes");
    }
}

#[test]
fn closing_the_writing_half_ends_the_stream_and_forgetting_it_does_not() {
    with_both_kinds!(check);
    async fn check<S: Connection>(
        (reading, writing): Halves<S>,
        (mut peer_reading, mut peer_writing): Halves<S>,
    ) {
        writing.forget();
        let mut buf = [0; 8];
        assert!(poll_once(pin!(read(&mut peer_reading, &mut buf))).is_pending());
        poll_fn(|cx| Pin::new(&mut peer_writing).poll_close(cx))
            .await
            .unwrap();
        assert_eq!(read(reading, &mut buf).await.unwrap(), 0);
    }
}

#[test]
fn halves_of_one_stream_reunite_and_others_do_not() {
    with_both_kinds!(check);
    async fn check<S>(one: Halves<S>, other: Halves<S>)
    where
        S: Connection,
        for<'a> &'a S: AsyncRead + AsyncWrite,
    {
        let error = one.0.reunite(other.1).unwrap_err();
        assert!(error.to_string().contains("into_split"), "{error}");
        let one = error.0.reunite(one.1).unwrap();
        let other = other.0.reunite(error.1).unwrap();
        // No half was dropped on the way: both directions are open.
        assert_eq!(write(&one, b"x").await.unwrap(), 1);
        assert_eq!(read(&other, &mut [0; 4]).await.unwrap(), 1);
        assert_eq!(write(&other, b"yz").await.unwrap(), 2);
        assert_eq!(read(&one, &mut [0; 4]).await.unwrap(), 2);
    }
}

#[test]
fn halves_transfer_vectored() {
    with_both_kinds!(check);
    async fn check<S: Connection>((_reading, mut writing): Halves<S>, peer: Halves<S>) {
        let mut peer_reading = peer.0;
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b"cde")];
        let sent = poll_fn(|cx| Pin::new(&mut writing).poll_write_vectored(cx, &parts));
        let (mut one, mut other) = ([0; 3], [0; 8]);
        let mut parts = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
        let got = poll_fn(|cx| Pin::new(&mut peer_reading).poll_read_vectored(cx, &mut parts));
        let (sent, got) = both(sent, got).await;
        assert_eq!((sent.unwrap(), got.unwrap()), (5, 5));
        assert_eq!((&one, &other[..2]), (b"abc", &b"de"[..]));
    }
}
