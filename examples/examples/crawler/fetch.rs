//! One page: the request, its limit, and what is tried again.

use std::error::Error;
use std::fmt;
use std::future::pending;

use futures_lite::future;
use heist::net::TcpStream;
use heist::task::BoxError;
use heist::time::{Duration, sleep, timeout};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use hyper::{Request, Response, StatusCode, Uri};

use crate::links;

/// How much of a page is read.
const LONGEST: usize = 1 << 20;

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long one request may take, from the connect to the last byte.
    pub(crate) limit: Duration,
    /// How often a page is asked for at most.
    pub(crate) tries: usize,
    /// How long to wait before the second try. It doubles with each one: whoever is overloaded gets time.
    pub(crate) pause: Duration,
}

/// What has become of a page.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) outcome: Result<Page, Failure>,
    pub(crate) tries: usize,
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) bytes: usize,
    pub(crate) links: Vec<Uri>,
}

#[derive(Debug)]
pub(crate) enum Failure {
    /// The server has answered, and has nothing to give.
    Status(StatusCode),
    TimedOut,
    TooLong,
    /// There is no connection, or no longer, or no HTTP on it.
    Broken(BoxError),
}

impl Failure {
    /// Whether another try may have another outcome.
    fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => status.is_server_error(),
            Self::TimedOut | Self::Broken(_) => true,
            Self::TooLong => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::TimedOut => f.write_str("timed out"),
            Self::TooLong => write!(f, "longer than {LONGEST} bytes"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

/// Fetches a page, with as many tries as it takes or `patience` allows.
pub(crate) async fn fetch(url: &Uri, patience: Patience) -> Fetched {
    let (mut tries, mut pause) = (1, patience.pause);
    loop {
        let outcome = match timeout(patience.limit, get(url)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Failure::TimedOut),
        };
        match &outcome {
            Err(failure) if failure.may_pass() && tries < patience.tries => {}
            _ => return Fetched { outcome, tries },
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        tries += 1;
    }
}

/// One try, on a connection of its own.
async fn get(url: &Uri) -> Result<Page, Failure> {
    let host = url.host().unwrap_or_default();
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await?;
    let (sender, connection) = handshake(stream).await?;
    // hyper's half of the work is done here and not in a task of its own: if this is dropped, so is the connection.
    let connection = async {
        // What goes wrong there, the exchange is told.
        let _ = connection.await;
        pending().await
    };
    future::or(exchange(sender, url), connection).await
}

async fn exchange(mut sender: SendRequest<Empty<Bytes>>, url: &Uri) -> Result<Page, Failure> {
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let host = url.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(target)
        .header(HOST, host)
        .header(CONNECTION, "close")
        .body(Empty::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        return Err(Failure::Status(status));
    }
    let elsewhere = header(&response, LOCATION).and_then(|link| links::resolve(url, link));
    let is_html = header(&response, CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(too_long)?.to_bytes();
    let mut links: Vec<_> = elsewhere.into_iter().collect();
    if is_html {
        links.extend(links::find(url, &String::from_utf8_lossy(&body)));
    }
    Ok(Page {
        status,
        bytes: body.len(),
        links,
    })
}

fn header(response: &Response<Incoming>, name: hyper::header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

fn too_long(error: Box<dyn Error + Send + Sync>) -> Failure {
    if error.is::<LengthLimitError>() {
        Failure::TooLong
    } else {
        Failure::Broken(error)
    }
}
