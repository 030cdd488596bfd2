//! What answers a request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use heist::{Handle, TaskRef};
use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::memory;

/// How many requests were begun, and how many of them were answered to the last byte.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    started: AtomicU64,
    answered: AtomicU64,
}

impl Counts {
    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// Answers one request; its head has been read.
pub(crate) async fn answer(
    request: Request<Incoming>,
    counts: Arc<Counts>,
) -> Result<Response<Answer>, Infallible> {
    counts.started.fetch_add(1, Ordering::Relaxed);
    let (status, kind, text) = match route(&request).await {
        Ok(Reply::Text(text)) => (StatusCode::OK, "text/plain; charset=utf-8", text),
        Ok(Reply::Json(value)) => (
            StatusCode::OK,
            "application/json",
            Bytes::from(value.to_string()),
        ),
        Err((status, text)) => (status, "text/plain; charset=utf-8", Bytes::from(text)),
    };
    if request.method() == Method::HEAD {
        // Its body is not asked for.
        counts.answered.fetch_add(1, Ordering::Relaxed);
    }
    let mut response = Response::new(Answer {
        body: Full::new(text),
        counts,
    });
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

enum Reply {
    Text(Bytes),
    Json(Value),
}

async fn route(request: &Request<Incoming>) -> Result<Reply, (StatusCode, String)> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are known here\n".into(),
        ));
    }
    match request.uri().path() {
        "/" => Ok(Reply::Text(Bytes::from_static(b"Hello from heist\n"))),
        "/sleep" => sleep(number(request, "ms", 20, 60_000)?).await,
        "/hash" => hash(number(request, "n", 1_000, 10_000_000)?).await,
        "/tasks" => Ok(Reply::Json(tasks())),
        "/memory" => memory(),
        path => Err((StatusCode::NOT_FOUND, format!("nothing at {path}\n"))),
    }
}

async fn sleep(ms: u64) -> Result<Reply, (StatusCode, String)> {
    heist::time::sleep(Duration::from_millis(ms)).await;
    Ok(Reply::Text(Bytes::from(format!("slept {ms} ms\n"))))
}

/// Work for the processor alone would keep a worker from everything else: it goes to the blocking pool.
async fn hash(rounds: u64) -> Result<Reply, (StatusCode, String)> {
    let digest = heist::spawn_blocking(move || {
        (0..rounds).fold([0; 32], |seed, _| Sha256::digest(seed).into())
    });
    let digest: [u8; 32] = digest
        .await
        .map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))?;
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Reply::Text(Bytes::from(format!("{hex}\n"))))
}

/// Every live task of the runtime, this one included.
fn tasks() -> Value {
    Handle::current().all_tasks().iter().map(task).collect()
}

fn memory() -> Result<Reply, (StatusCode, String)> {
    match memory::allocated() {
        Some(bytes) => Ok(Reply::Text(Bytes::from(format!("{bytes}\n")))),
        None => Err((
            StatusCode::NOT_FOUND,
            "memory is counted with the feature count-memory\n".into(),
        )),
    }
}

fn task(task: &TaskRef) -> Value {
    json!({
        "id": task.id().to_string(),
        "name": task.name(),
        "state": task.state().to_string(),
        "location": task.spawn_location().to_string(),
        "age_ms": u64::try_from(task.age().as_millis()).unwrap_or(u64::MAX),
    })
}

/// The parameter `name` of the query, at most `limit`.
fn number(
    request: &Request<Incoming>,
    name: &str,
    default: u64,
    limit: u64,
) -> Result<u64, (StatusCode, String)> {
    let query = request.uri().query().unwrap_or_default();
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match value.map(str::parse) {
        None => Ok(default),
        Some(Ok(number)) if number <= limit => Ok(number),
        Some(_) => Err((
            StatusCode::BAD_REQUEST,
            format!("`{name}` is a number from 0 to {limit}\n"),
        )),
    }
}

/// A response body that counts its request as answered once hyper has taken the last byte.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Full<Bytes>,
    counts: Arc<Counts>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if self.body.is_end_stream() && matches!(frame, Poll::Ready(Some(_))) {
            self.counts.answered.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
