//! A hundred tasks ask for four keys; each key is loaded once.

#![expect(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use heist::time::{Duration, sleep};
use single_flight::Cache;

/// What the slow source answers for a key that it does not have.
#[derive(Clone, Debug)]
struct NotFound(u32);

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no user {}", self.0)
    }
}

impl Error for NotFound {}

static LOADS: AtomicUsize = AtomicUsize::new(0);

/// Stands for a query of a database.
async fn load(id: u32) -> Result<String, NotFound> {
    LOADS.fetch_add(1, Relaxed);
    sleep(Duration::from_millis(20)).await;
    if id < 4 {
        Ok(format!("user {id}"))
    } else {
        Err(NotFound(id))
    }
}

#[heist::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let places = NonZeroUsize::new(4).ok_or("no places")?;
    let cache = Arc::new(Cache::new(places));
    let tasks: Vec<_> = (0..100)
        .map(|index| {
            let cache = Arc::clone(&cache);
            heist::spawn(async move { cache.get(index % 4, load).await })
        })
        .collect();
    for (index, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await??, format!("user {}", index % 4));
    }
    println!("100 calls, {} loads", LOADS.load(Relaxed));

    match cache.get(4, load).await {
        Ok(user) => println!("{user}"),
        Err(error) => println!("{error}: {}", error.source().ok_or("no cause")?),
    }
    Ok(())
}
