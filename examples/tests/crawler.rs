//! The crawler, from the outside and against a site that counts; and that a fetch or a crawl that is cut short at any await leaves
//! no task and no connection behind.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "../examples/crawler/crawl.rs"]
mod crawl;
#[path = "../examples/crawler/fetch.rs"]
mod fetch;
#[path = "../examples/crawler/links.rs"]
mod links;
#[path = "../examples/crawler/site.rs"]
mod site;
mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crawl::{Settings, Visit, crawl};
use fetch::{Failure, Fetched, Patience, fetch};
use heist::net::TcpListener;
use heist::task::{GroupError, Task, TaskRef};
use heist::{Handle, spawn};
use hyper::{StatusCode, Uri};
use site::{MEET, Site};
use support::{Cut, Program, example, until};

/// A limit that a slow machine does not meet, and pauses that nobody waits for.
const PATIENT: Patience = Patience {
    limit: Duration::from_secs(60),
    tries: 3,
    pause: Duration::from_millis(1),
};

/// For pages that do not answer.
const IMPATIENT: Patience = Patience {
    limit: Duration::from_millis(30),
    ..PATIENT
};

const SETTINGS: Settings = Settings {
    depth: 3,
    limit: MEET,
    patience: PATIENT,
};

const NEAR: Settings = Settings {
    depth: 1,
    ..SETTINGS
};

/// A site, and the task that serves it.
struct Served {
    site: Arc<Site>,
    task: Task<Result<(), GroupError>>,
    address: String,
}

impl Served {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let site = Arc::new(Site::new().unwrap());
        let task = spawn(Arc::clone(&site).serve(listener));
        Self {
            site,
            task,
            address,
        }
    }

    fn url(&self, path: &str) -> Uri {
        format!("{}{path}", self.address).parse().unwrap()
    }

    async fn fetch(&self, path: &str, patience: Patience) -> Fetched {
        fetch(&self.url(path), patience).await
    }

    /// Nobody is connected, and no task is left but this one and the site's.
    async fn is_at_rest(&self) {
        until(|| self.site.open() == 0).await;
        until(|| Handle::current().all_tasks().len() == 2).await;
    }

    async fn end(self) {
        self.is_at_rest().await;
        self.task.cancel();
        assert!(self.task.await.unwrap_err().is_cancelled());
        until(|| Handle::current().all_tasks().len() == 1).await;
    }
}

/// The tasks that are not connections of the site: this one, and the site's own.
const OURS: usize = 2;

fn ours() -> usize {
    let tasks = Handle::current().all_tasks();
    let own = |task: &&TaskRef| task.name() != "connection";
    tasks.iter().filter(own).count()
}

/// The paths that were visited, with their depths.
async fn visited(start: Uri, settings: Settings) -> BTreeMap<String, usize> {
    let mut paths = BTreeMap::new();
    let crawled = crawl(start, settings, |visit: &Visit| {
        let path = visit.url.path().to_owned();
        assert_eq!(paths.insert(path, visit.depth), None, "{visit:?} again");
    });
    crawled.await.unwrap();
    paths
}

#[heist::test(local)]
async fn each_page_is_fetched_once_to_the_depth_and_no_further() {
    let served = Served::start().await;
    let paths = visited(served.url("/deep/1"), SETTINGS).await;
    let expected = [1, 2, 3, 4].map(|number| (format!("/deep/{number}"), number - 1));
    assert_eq!(paths, BTreeMap::from(expected));
    assert!((1..=4).all(|number| served.site.hits(&format!("/deep/{number}")) == 1));
    // A ring: one leads to the other, and to itself.
    let paths = visited(served.url("/ring"), NEAR).await;
    let expected = [("/".to_owned(), 1), ("/ring".to_owned(), 0)];
    assert_eq!(paths, BTreeMap::from(expected));
    assert_eq!((served.site.hits("/"), served.site.hits("/ring")), (1, 1));
    served.end().await;
}

#[heist::test(local)]
async fn a_redirect_is_a_page_with_one_link() {
    let served = Served::start().await;
    let paths = visited(served.url("/old"), NEAR).await;
    let expected = [("/new".to_owned(), 1), ("/old".to_owned(), 0)];
    assert_eq!(paths, BTreeMap::from(expected));
    served.end().await;
}

/// Each page under `/meet` is answered when as many are asked for at once as the limit allows: with less it would never end.
#[heist::test(local)]
async fn as_many_are_under_way_as_the_limit_allows_and_no_more() {
    let served = Served::start().await;
    let paths = visited(served.url("/meet"), SETTINGS).await;
    assert_eq!(paths.len(), 1 + 2 * MEET);
    assert_eq!(served.site.most(), SETTINGS.limit);
    served.end().await;
}

#[heist::test(local)]
async fn what_may_have_been_bad_luck_is_tried_again_and_nothing_else() {
    let served = Served::start().await;
    let few = Patience {
        tries: 1,
        ..PATIENT
    };
    // It fails twice.
    assert_failed(
        &served.fetch("/flaky", few).await,
        1,
        "503 Service Unavailable",
    );
    let flaky = served.fetch("/flaky", PATIENT).await;
    let page = flaky.outcome.unwrap();
    assert_eq!((flaky.tries, page.status), (2, StatusCode::OK));
    assert_eq!((page.bytes, page.links), (18, vec![served.url("/")]));
    assert_failed(
        &served.fetch("/broken", PATIENT).await,
        3,
        "500 Internal Server Error",
    );
    assert_failed(&served.fetch("/gone", PATIENT).await, 1, "404 Not Found");
    assert_failed(
        &served.fetch("/big", PATIENT).await,
        1,
        "longer than 1048576 bytes",
    );
    // The first time it does not answer.
    let dogged = Patience {
        tries: 20,
        ..IMPATIENT
    };
    let slow = served.fetch("/slow", dogged).await;
    assert!(slow.tries > 1 && slow.outcome.is_ok());
    assert_failed(&served.fetch("/stuck", IMPATIENT).await, 3, "timed out");
    assert_eq!(served.site.hits("/stuck"), 3);
    served.end().await;
}

#[track_caller]
fn assert_failed(fetched: &Fetched, tries: usize, failure: &str) {
    let outcome = fetched.outcome.as_ref().unwrap_err().to_string();
    assert_eq!((fetched.tries, outcome.as_str()), (tries, failure));
}

#[heist::test(local)]
async fn a_port_on_which_nobody_listens_is_given_up_after_some_tries() {
    let down = heist::net::TcpSocket::new_v4().unwrap();
    down.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", down.local_addr().unwrap())
        .parse()
        .unwrap();
    let fetched = fetch(&url, PATIENT).await;
    assert!(matches!(fetched.outcome, Err(Failure::Broken(_))));
    assert_eq!(fetched.tries, 3);
    assert_eq!(Handle::current().all_tasks().len(), 1);
}

#[test]
fn links_lead_to_the_same_host_or_nowhere() {
    let page: Uri = "http://localhost:1/a/b".parse().unwrap();
    let text = r##"
        <a href="/c?d=e#f">, <a href="http://localhost:2/g">, <a href="http://LOCALHOST:1/h">,
        <a href="//other/">, <a href="http://other/">, <a href="https://localhost:1/">, <a href="mailto:me">,
        <a href="#top">, <a href="">, <a href="i/j">, <a href="http://">, <a href="/no end"##;
    let found: Vec<_> = links::find(&page, text)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "http://localhost:1/c?d=e",
            "http://localhost:2/g",
            "http://LOCALHOST:1/h"
        ]
    );
}

#[heist::test(local)]
async fn a_fetch_that_is_cut_short_at_any_await_leaves_no_task_and_no_connection() {
    let served = Served::start().await;
    for how in Cut::ALL {
        // It succeeds, fails, and waits: for the server, and for its next try.
        for path in ["/", "/broken", "/stuck"] {
            let (mut over, mut polls) = (false, 0);
            while !over {
                let fetched = how.after(polls, served.fetch(path, IMPATIENT)).await;
                over = fetched.is_some();
                assert_eq!(ours(), OURS);
                served.is_at_rest().await;
                polls += 1;
            }
            assert!(polls > 3, "{path}: it waited {polls} times");
        }
    }
    assert!(served.fetch("/", PATIENT).await.outcome.is_ok());
    served.end().await;
}

#[heist::test(local)]
async fn a_crawl_that_is_cut_short_at_any_await_leaves_no_task_and_no_connection() {
    let served = Served::start().await;
    for how in Cut::ALL {
        let (mut over, mut polls) = (false, 0);
        while !over {
            let settings = Settings {
                patience: IMPATIENT,
                ..SETTINGS
            };
            let crawled = crawl(served.url("/"), settings, |_| {});
            over = match how.after(polls, crawled).await {
                Some(crawled) => crawled.is_ok(),
                None => false,
            };
            // Who drops a group does not wait for its children.
            if over || matches!(how, Cut::Cancelled) {
                assert_eq!(ours(), OURS);
            }
            served.is_at_rest().await;
            polls += 1;
        }
        assert!(polls > 3, "it waited {polls} times");
    }
    assert_eq!(visited(served.url("/deep/1"), SETTINGS).await.len(), 4);
    served.end().await;
}

#[test]
fn the_program_crawls_its_own_site() {
    let arguments = ["--patience", "500", "--pause", "1", "--depth", "3"];
    let output = example("crawler").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let line = |part: &str| {
        let mut lines = text.lines().filter(|line| line.contains(part));
        let line = lines.next().expect(part);
        assert_eq!(lines.next(), None, "{text}");
        line
    };
    // With more tries if the machine is slow.
    for (path, depth, outcome) in [
        ("/ring: ", "1 ", "200 OK, 52 bytes, 2 links"),
        ("/old: ", "1 ", "301 Moved Permanently, 0 bytes, 1 links"),
        ("/new: ", "2 ", "200 OK, 18 bytes, 1 links"),
        ("/deep/3: ", "3 ", "200 OK, 30 bytes, 1 links"),
        ("/flaky: ", "1 ", "200 OK, 18 bytes, 1 links (3 tries)"),
        ("/slow: ", "1 ", "200 OK, 18 bytes, 1 links ("),
        ("/stuck: ", "1 ", "timed out (3 tries)"),
        ("/broken: ", "1 ", "500 Internal Server Error (3 tries)"),
        ("/gone: ", "1 ", "404 Not Found"),
        ("/big: ", "1 ", "longer than 1048576 bytes"),
        ("refused", "1 ", "(3 tries)"),
    ] {
        let line = line(path);
        assert!(line.starts_with(depth) && line.contains(outcome), "{line}");
    }
    assert!(!text.contains("/deep/4"), "{text}");
    assert!(text.ends_with(" requests\n"), "{text}");
    assert!(
        line(" pages of ").starts_with("9 pages of 500 bytes, 5 failures, "),
        "{text}"
    );
}

#[heist::test]
async fn the_program_crawls_another_site() {
    let served = Served::start().await;
    let url = served.url("/meet").to_string();
    let output = heist::spawn_blocking(move || {
        let limit = MEET.to_string();
        example("crawler").args([&url, "--limit", &limit]).output()
    });
    let output = output.await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let totals = format!("{} pages of ", 1 + 2 * MEET);
    assert!(text.lines().last().unwrap().starts_with(&totals), "{text}");
    assert_eq!(served.site.most(), MEET);
    served.end().await;
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_with_a_summary_of_what_there_was() {
    // Nobody waits that long for a page that does not answer.
    let mut program = Program::start(example("crawler").args(["--patience", "60000"]));
    assert!(program.line().contains("/: 200 OK"));
    let id = program.id().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status();
    assert!(kill.unwrap().success());
    let (output, status) = program.finish();
    assert!(
        output.lines().last().unwrap().contains(" pages of "),
        "{output}"
    );
    assert_eq!(status.code(), Some(130), "{output}");
}

#[test]
fn bad_arguments_end_it() {
    for arguments in [
        ["--limit", "0"],
        ["--tries", "x"],
        ["https://localhost/", "--what"],
        ["ftp://localhost/", "http://localhost/"],
    ] {
        let output = example("crawler").args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
    }
}
