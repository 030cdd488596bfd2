use super::source::connection;
use crate::tests::harness::TestRuntime;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Appends what one read gives.
async fn read(mut stream: impl AsyncRead + Unpin, buf: &mut ReadBuf<'_>) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, buf)).await
}

async fn write(mut stream: impl AsyncWrite + Unpin, buf: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, buf)).await
}

#[test]
fn a_read_appends_to_what_is_filled_already() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (mut client, mut server) = connection().await;
        let mut memory = [0; 8];
        let mut buf = ReadBuf::new(&mut memory);
        for part in ["abc", "de"] {
            assert_eq!(
                write(&mut client, part.as_bytes()).await.unwrap(),
                part.len()
            );
            read(&mut server, &mut buf).await.unwrap();
        }
        assert_eq!(buf.filled(), b"abcde");
    });
}

#[test]
fn halves_read_and_write_and_shut_down() {
    let runtime = TestRuntime::new();
    runtime.block_on(async {
        let (client, server) = connection().await;
        let ((_reading, mut writing), (mut reading, _writing)) =
            (client.into_split(), server.into_split());
        assert_eq!(write(&mut writing, b"xy").await.unwrap(), 2);
        poll_fn(|cx| Pin::new(&mut writing).poll_shutdown(cx))
            .await
            .unwrap();
        let mut memory = [0; 8];
        let mut buf = ReadBuf::new(&mut memory);
        read(&mut reading, &mut buf).await.unwrap();
        read(&mut reading, &mut buf).await.unwrap();
        assert_eq!(buf.filled(), b"xy");
    });
}
