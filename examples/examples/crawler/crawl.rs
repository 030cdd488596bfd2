//! The crawl: which pages there are, and how many are asked for at once.

use std::collections::{HashSet, VecDeque};

use heist::sync::mpsc;
use heist::task::{GroupError, TaskGroup};
use hyper::Uri;

use crate::fetch::{Fetched, Patience, fetch};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How many links away from the start a page may be.
    pub(crate) depth: usize,
    /// How many pages are asked for at once.
    pub(crate) limit: usize,
    pub(crate) patience: Patience,
}

/// A page that was asked for.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) url: Uri,
    pub(crate) depth: usize,
    pub(crate) fetched: Fetched,
}

/// Visits a page, and all that it leads to, each once; those that are nearer first. `report` gets them as they come.
///
/// Each visit is a child of a group. If this is cancelled, so are they, and it ends when they have.
pub(crate) async fn crawl(
    start: Uri,
    settings: Settings,
    mut report: impl FnMut(&Visit),
) -> Result<(), GroupError> {
    let group = TaskGroup::builder().limit(settings.limit);
    group
        .run(async |group| {
            // Unbounded, and never longer than the limit: the loop takes one for each child that it adds.
            let (done, mut visits) = mpsc::unbounded();
            let mut known = HashSet::from([start.clone()]);
            let mut next = VecDeque::from([(start, 0)]);
            let mut under_way = 0;
            loop {
                let visit = match next.pop_front() {
                    Some((url, depth)) => {
                        let visit = visit(url.clone(), depth, settings.patience, done.clone());
                        // Waits until the limit allows one more: then another one is done.
                        group.named(url.to_string()).spawn_wait(visit).await?;
                        under_way += 1;
                        visits.try_recv().ok()
                    }
                    None if under_way > 0 => visits.recv().await,
                    None => return Ok(()),
                };
                let Some(visit) = visit else { continue };
                under_way -= 1;
                report(&visit);
                let Ok(page) = visit.fetched.outcome else {
                    continue;
                };
                if visit.depth < settings.depth {
                    let links = page.links.into_iter();
                    let new = links.filter(|link| known.insert(link.clone()));
                    next.extend(new.map(|link| (link, visit.depth + 1)));
                }
            }
        })
        .await
}

async fn visit(url: Uri, depth: usize, patience: Patience, done: mpsc::Sender<Visit>) {
    let fetched = fetch(&url, patience).await;
    let visit = Visit {
        url,
        depth,
        fetched,
    };
    // If nobody receives any more the crawl is over.
    let _ = done.try_send(visit);
}
