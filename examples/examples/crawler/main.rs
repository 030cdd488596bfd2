//! A crawler: a page, the pages that it links to, and so on, several at once; with a limit for each request, and another try for
//! what may have been bad luck.
//!
//! ```text
//! cargo run --example crawler                                         # a small site, which this program serves itself
//! cargo run --example crawler -- http://localhost:8000/ --depth 2     # any other
//! cargo run --example crawler -- --limit 1 --tries 1 --patience 200   # one by one, without mercy, 200 ms each
//! ```
//!
//! It prints each page once, when it is there or given up: how many links it is from the start, what became of it, and how many tries
//! that took. Failures of the server, time-outs and broken connections are tried again, after a pause that doubles; a page
//! that is not found is not. It never leaves the host. Then it prints a summary; Ctrl-C ends it at once, with that of what there was.
//!
//! | file | what |
//! |---|---|
//! | `crawl.rs` | which pages, and how many at once |
//! | `fetch.rs` | one page: the request, its limit, the tries |
//! | `links.rs` | where a page leads to |
//! | `site.rs` | a site to try it on |

#![expect(
    clippy::print_stdout,
    reason = "the output is what this program is for"
)]

mod crawl;
mod fetch;
mod links;
mod site;

use std::error::Error;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use heist::net::TcpListener;
use heist::task::{GroupError, TaskGroup, catch_cancel};
use hyper::Uri;
use lexopt::prelude::*;

use crawl::{Settings, Visit, crawl};
use fetch::Patience;
use site::Site;

#[heist::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (url, settings) = options()?;
    let mut totals = Totals::default();
    let report = |visit: &Visit| {
        println!("{visit}");
        totals.add(visit);
    };
    let crawled = catch_cancel(async {
        match url {
            Some(url) => crawl(url, settings, report).await,
            None => crawl_own(settings, report).await,
        }
    });
    let crawled = crawled.await;
    println!("{totals}");
    match crawled {
        Ok(crawled) => Ok(crawled?),
        Err(cancelled) => cancelled.resume().await,
    }
}

/// Crawls a site that is there as long as this takes.
async fn crawl_own(settings: Settings, report: impl FnMut(&Visit)) -> Result<(), GroupError> {
    let crawled = TaskGroup::run(async |group| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/", listener.local_addr()?).parse()?;
        let site = Arc::new(Site::new()?);
        group.named("site").spawn(site.serve(listener))?;
        crawl(url, settings, report).await?;
        // The site goes on for ever otherwise.
        group.cancel();
        Ok(())
    });
    crawled.await
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.depth, self.url)?;
        match &self.fetched.outcome {
            Ok(page) => write!(
                f,
                "{}, {} bytes, {} links",
                page.status,
                page.bytes,
                page.links.len()
            )?,
            Err(failure) => failure.fmt(f)?,
        }
        match self.fetched.tries {
            1 => Ok(()),
            tries => write!(f, " ({tries} tries)"),
        }
    }
}

#[derive(Default)]
struct Totals {
    pages: usize,
    failures: usize,
    bytes: usize,
    tries: usize,
}

impl Totals {
    fn add(&mut self, visit: &Visit) {
        self.tries += visit.fetched.tries;
        match &visit.fetched.outcome {
            Ok(page) => {
                self.pages += 1;
                self.bytes += page.bytes;
            }
            Err(_) => self.failures += 1,
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pages,
            failures,
            bytes,
            tries,
        } = self;
        write!(
            f,
            "{pages} pages of {bytes} bytes, {failures} failures, {tries} requests"
        )
    }
}

fn options() -> Result<(Option<Uri>, Settings), lexopt::Error> {
    let mut url = None;
    let mut settings = Settings {
        depth: 3,
        limit: 4,
        patience: Patience {
            limit: Duration::from_secs(1),
            tries: 3,
            pause: Duration::from_millis(100),
        },
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("depth") => settings.depth = parser.value()?.parse()?,
            Long("limit") => settings.limit = parser.value()?.parse_with(positive)?,
            Long("tries") => settings.patience.tries = parser.value()?.parse_with(positive)?,
            Long("patience") => {
                settings.patience.limit = parser.value()?.parse_with(milliseconds)?
            }
            Long("pause") => settings.patience.pause = parser.value()?.parse_with(milliseconds)?,
            Value(address) => url = Some(address.parse_with(http)?),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok((url, settings))
}

fn positive(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number from 1 on"),
        Ok(number) => Ok(number),
    }
}

fn milliseconds(text: &str) -> Result<Duration, &'static str> {
    let number: u32 = text.parse().map_err(|_| "not a number of milliseconds")?;
    Ok(Duration::from_millis(number.into()))
}

fn http(text: &str) -> Result<Uri, &'static str> {
    match text.parse::<Uri>() {
        Ok(url) if url.scheme_str() == Some("http") => Ok(url),
        _ => Err("not an address that begins with http://"),
    }
}
