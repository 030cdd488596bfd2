//! A small site with everything that makes a crawl hard: rings, pages without end, failures that pass and such that do not.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use heist::net::{TcpListener, TcpSocket};
use heist::sync::Barrier;
use heist::task::{GroupError, TaskGroup};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

/// How many pages meet at `/meet/…`: each waits until so many are asked for at once.
pub(crate) const MEET: usize = 3;

#[derive(Debug)]
pub(crate) struct Site {
    /// A port on which nobody listens, and nobody else can.
    down: TcpSocket,
    meeting: Barrier,
    /// How often each path was asked for.
    hits: Mutex<HashMap<String, usize>>,
    open: Gauge,
    under_way: Gauge,
}

impl Site {
    pub(crate) fn new() -> io::Result<Self> {
        let down = TcpSocket::new_v4()?;
        down.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self {
            down,
            meeting: Barrier::new(MEET),
            hits: Mutex::default(),
            open: Gauge::default(),
            under_way: Gauge::default(),
        })
    }

    /// Serves until it is cancelled. Its connections end with it.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> Result<(), GroupError> {
        TaskGroup::run(async |group| {
            loop {
                let (stream, _) = listener.accept().await?;
                let site = Arc::clone(&self);
                group.named("connection").spawn(async move {
                    let _open = site.open.enter();
                    let service = service_fn(|request| site.answer(request));
                    // A client that has no patience is nobody's failure.
                    let _ = http1::Builder::new()
                        .serve_connection(stream, service)
                        .await;
                })?;
            }
        })
        .await
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let _under_way = self.under_way.enter();
        let path = request.uri().path();
        let hit = self.hit(path);
        let parts: Vec<_> = path.split('/').skip(1).collect();
        Ok(match (parts.as_slice(), hit) {
            ([""], _) => page(self.front()),
            (["ring"], _) => page(["/", "/ring#top"]),
            // Without end.
            (["deep", number], _) => {
                let next = number
                    .parse::<u64>()
                    .map_or(1, |number| number.saturating_add(1));
                page([format!("/deep/{next}")])
            }
            (["old"], _) => redirect("/new"),
            (["flaky"], 1 | 2) => status(StatusCode::SERVICE_UNAVAILABLE),
            (["slow"], 1) | (["stuck"], _) => pending().await,
            (["new" | "flaky" | "slow"], _) => page(["/"]),
            (["broken"], _) => status(StatusCode::INTERNAL_SERVER_ERROR),
            (["big"], _) => page(["x".repeat(2 << 20)]),
            (["meet"], _) => page((0..2 * MEET).map(|number| format!("/meet/{number}"))),
            (["meet", _], _) => {
                // It is broken if one who waits goes away, and then nobody waits.
                let _ = self.meeting.wait().await;
                page(["/meet"])
            }
            _ => status(StatusCode::NOT_FOUND),
        })
    }

    /// The links of the front page.
    fn front(&self) -> Vec<String> {
        let down = self.down.local_addr().map(|down| format!("http://{down}/"));
        let own = [
            "/ring", "/deep/1", "/old", "/flaky", "/slow", "/stuck", "/broken", "/gone", "/big",
        ];
        own.map(str::to_owned).into_iter().chain(down).collect()
    }

    fn hit(&self, path: &str) -> usize {
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = hits.entry(path.to_owned()).or_default();
        *hit += 1;
        *hit
    }

    /// How often a path was asked for.
    #[allow(dead_code, reason = "the tests ask")]
    pub(crate) fn hits(&self, path: &str) -> usize {
        let hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        hits.get(path).copied().unwrap_or_default()
    }

    /// How many connections there are.
    #[allow(dead_code, reason = "the tests ask")]
    pub(crate) fn open(&self) -> usize {
        self.open.now.load(Ordering::Relaxed)
    }

    /// How many requests were under way at once at most.
    #[allow(dead_code, reason = "the tests ask")]
    pub(crate) fn most(&self) -> usize {
        self.under_way.most.load(Ordering::Relaxed)
    }
}

fn page(links: impl IntoIterator<Item: Display>) -> Response<Full<Bytes>> {
    let link = |link| format!("<a href=\"{link}\">{link}</a>\n");
    let text: String = links.into_iter().map(link).collect();
    let mut response = Response::new(Full::from(text));
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn redirect(to: &'static str) -> Response<Full<Bytes>> {
    let mut response = status(StatusCode::MOVED_PERMANENTLY);
    let to = HeaderValue::from_static(to);
    response.headers_mut().insert(LOCATION, to);
    response
}

/// How many there are of something, and were at most.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn enter(&self) -> Entered<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Entered(self)
    }
}

struct Entered<'a>(&'a Gauge);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}
