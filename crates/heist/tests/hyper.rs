//! hyper on heist's executor, timer and streams: HTTP/2, which spawns tasks of its own.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(feature = "hyper")]

mod support;

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use heist::Runtime;
use heist::hyper::{HeistExecutor, HeistTimer};
use heist::net::{TcpListener, TcpStream};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use support::{bounded, runtime};

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(body)))
}

async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = server::conn::http2::Builder::new(HeistExecutor::new())
            .timer(HeistTimer::new())
            .keep_alive_interval(Duration::from_millis(1))
            .serve_connection(stream, service_fn(echo));
        heist::spawn(connection).detach();
    }
}

#[test]
fn http2_multiplexes_requests_over_one_connection() {
    bounded(|| {
        let (server, client) = (runtime(2), runtime(2));
        let listener = server.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        server.spawn(serve(listener)).detach();
        client.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let executor = HeistExecutor::on(client.handle());
            let (sender, connection) = client::conn::http2::Builder::new(executor)
                .timer(HeistTimer::new())
                .handshake(stream)
                .await
                .unwrap();
            let connection = heist::spawn(connection);
            let requests: Vec<_> = (0..100_usize)
                .map(|n| {
                    let mut sender = sender.clone();
                    heist::spawn(async move {
                        let sent = Bytes::from(vec![n as u8; n * 1000]);
                        let uri = format!("http://{address}/");
                        let request = Request::post(uri).body(Full::new(sent.clone())).unwrap();
                        sender.ready().await.unwrap();
                        let response = sender.send_request(request).await.unwrap();
                        let received = response.into_body().collect().await.unwrap();
                        assert_eq!(received.to_bytes(), sent);
                    })
                })
                .collect();
            for request in requests {
                request.await.unwrap();
            }
            drop(sender);
            connection.await.unwrap().unwrap();
        });
    });
}

#[test]
fn an_executor_spawns_where_it_was_told_to() {
    fn thread_after(executor: &HeistExecutor) -> String {
        let (tell, told) = channel();
        executor.execute(async move {
            let name = thread::current().name().map(str::to_owned);
            tell.send(name.unwrap()).unwrap();
        });
        told.recv().unwrap()
    }
    bounded(|| {
        let named = |name: &str| {
            let builder = Runtime::builder().worker_threads(1).thread_name(name);
            builder.build().unwrap()
        };
        let (here, there) = (named("here"), named("there"));
        let on = HeistExecutor::on(there.handle());
        assert!(thread_after(&on).starts_with("there"));
        let inside = here.spawn(async move {
            let (own, other) = (HeistExecutor::new(), on);
            let mut names = Vec::new();
            for executor in [own, other] {
                let (tell, told) = heist::promise();
                executor.execute(async move {
                    let name = thread::current().name().map(str::to_owned);
                    let _ = tell.set_result(name.unwrap());
                });
                names.push(told.await.unwrap());
            }
            names
        });
        let names = here.block_on(inside).unwrap();
        assert!(names[0].starts_with("here"), "{names:?}");
        assert!(names[1].starts_with("there"), "{names:?}");
    });
}
