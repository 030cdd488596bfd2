//! The pool, from its server's side and from its users'; and that who is cut short at any await leaves no place, no connection
//! and no lock behind.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "../examples/connection_pool/pool.rs"]
mod pool;
#[path = "../examples/connection_pool/server.rs"]
mod server;
mod support;

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_lite::future::poll_once;
use heist::net::TcpListener;
use heist::sync::Event;
use heist::task::{Task, yield_now};
use heist::{Handle, spawn};
use pool::{Connection, Pool, Settings};
use server::{SERVED, Seen, serve};
use support::{Cut, Program, example, until};

const SIZE: usize = 2;

/// Nothing that is checked unless a test asks for it, and no limit that a slow machine would meet.
const CALM: Settings = Settings {
    size: SIZE,
    check_after: Duration::from_secs(3600),
    patience: Duration::from_secs(60),
};

/// A server, and a pool of connections to it.
struct Both {
    server: Task<Result<(), heist::task::GroupError>>,
    address: SocketAddr,
    seen: Arc<Seen>,
    size: usize,
    pool: Arc<Pool>,
}

impl Both {
    async fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let pool = Arc::new(Pool::new(address, settings));
        let server = spawn(serve(listener, Arc::clone(&seen)));
        Self {
            server,
            address,
            size: settings.size,
            seen,
            pool,
        }
    }

    async fn ask(&self, line: &str) -> String {
        ask(&self.pool, line).await.unwrap()
    }

    /// As many connections are idle, and the server has no others; all places are free and nobody has the lock.
    async fn is_at_rest_with(&self, idle: usize) {
        assert_eq!(self.pool.free(), self.size);
        assert_eq!(poll_once(self.pool.idle()).await, Some(idle));
        // It hears later that one is gone, or that there is one.
        until(|| self.seen.open() == idle).await;
    }

    async fn end(self) {
        self.pool.close().await;
        self.is_at_rest_with(0).await;
        self.server.cancel();
        assert!(self.server.await.unwrap_err().is_cancelled());
        // This one.
        assert_eq!(Handle::current().all_tasks().len(), 1);
    }
}

async fn ask(pool: &Pool, line: &str) -> std::io::Result<String> {
    pool.with(async |connection| connection.ask(line).await)
        .await
}

/// Two requests in a row, with a pause in between.
async fn talk(connection: &mut Connection) -> std::io::Result<String> {
    let first = connection.ask("one").await?;
    yield_now().await;
    Ok(first + &connection.ask("two").await?)
}

#[heist::test(local)]
async fn a_connection_is_used_again() {
    let both = Both::start(CALM).await;
    for line in ["a", "b", "c"] {
        assert_eq!(both.ask(line).await, line.to_uppercase());
    }
    assert_eq!(both.pool.opened(), 1);
    both.is_at_rest_with(1).await;
    both.end().await;
}

#[heist::test(local)]
async fn a_connection_on_which_something_failed_is_thrown_away() {
    let both = Both::start(CALM).await;
    both.ask("a").await;
    assert!(ask(&both.pool, "break").await.is_err());
    both.is_at_rest_with(0).await;
    // Also if it was not the connection's fault: nobody knows.
    let failed = both
        .pool
        .with(async |_| Err::<(), _>(ErrorKind::Other.into()));
    assert!(failed.await.is_err());
    both.is_at_rest_with(0).await;
    assert_eq!(both.ask("b").await, "B");
    both.end().await;
}

#[heist::test(local)]
async fn one_that_the_server_has_closed_meanwhile_is_not_lent() {
    let both = Both::start(CALM).await;
    both.ask("a").await;
    hang_up();
    until(|| both.seen.open() == 0).await;
    // The reactor has told by the time it tells of what comes later.
    let later = Pool::new(both.address, CALM);
    ask(&later, "later").await.unwrap();
    drop(later);
    assert_eq!(both.ask("b").await, "B");
    assert_eq!(both.pool.opened(), 2);
    both.is_at_rest_with(1).await;
    both.end().await;
}

/// The server's side of all connections goes.
fn hang_up() {
    let tasks = Handle::current().all_tasks();
    let served = tasks.iter().filter(|task| task.name() == SERVED);
    served.for_each(|task| {
        task.cancel();
    });
}

#[heist::test(local)]
async fn those_who_wait_are_served_in_the_order_of_coming() {
    // One place: of two who are served, the second one may run first.
    let both = Both::start(Settings { size: 1, ..CALM }).await;
    let (served, go) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Event::new()));
    let mut users = Vec::new();
    for number in 0..7 {
        let (pool, served, go) = (Arc::clone(&both.pool), Arc::clone(&served), Arc::clone(&go));
        users.push(spawn(async move {
            pool.with(async |_| {
                served.lock().unwrap().push(number);
                go.wait().await;
                // Whoever comes back at once stands behind them all.
                Ok(())
            })
            .await?;
            ask(&pool, "again").await
        }));
    }
    until(|| served.lock().unwrap().len() == 1).await;
    go.set();
    for user in users {
        assert_eq!(user.await.unwrap().unwrap(), "AGAIN");
    }
    let served = Arc::into_inner(served).unwrap().into_inner().unwrap();
    assert_eq!(served, (0..7).collect::<Vec<_>>());
    assert_eq!((both.pool.opened(), both.seen.most()), (1, 1));
    both.end().await;
}

#[heist::test(local)]
async fn close_waits_until_all_are_back_and_turns_the_others_away() {
    let both = Both::start(CALM).await;
    let go = Arc::new(Event::new());
    let mut users: Vec<_> = (0..SIZE + 2)
        .map(|_| {
            let (pool, go) = (Arc::clone(&both.pool), Arc::clone(&go));
            spawn(async move {
                pool.with(async |connection| {
                    go.wait().await;
                    connection.ask("late").await
                })
                .await
            })
        })
        .collect();
    until(|| both.seen.open() == SIZE).await;
    let pool = Arc::clone(&both.pool);
    let close = spawn(async move { pool.close().await });
    // Whoever has a connection may finish with it.
    let late = users.split_off(SIZE);
    until(|| format!("{:?}", both.pool).contains("closed: true")).await;
    assert!(!close.is_finished());
    go.set();
    for user in users {
        assert_eq!(user.await.unwrap().unwrap(), "LATE");
    }
    for user in late {
        let error = user.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    }
    close.await.unwrap();
    both.is_at_rest_with(0).await;
    let error = ask(&both.pool, "later").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    both.end().await;
}

#[heist::test(local)]
async fn idle_ones_are_checked_again_and_again_and_broken_ones_thrown_away() {
    let settings = Settings {
        check_after: Duration::from_millis(1),
        ..CALM
    };
    let both = Both::start(settings).await;
    let pool = Arc::clone(&both.pool);
    let keeper = spawn(async move { pool.keep().await });
    both.ask("a").await;
    until(|| both.seen.pings() >= 3).await;
    assert_eq!(both.pool.opened(), 1);
    hang_up();
    // A check may be under way, with the connection in its hands.
    while both.pool.idle().await > 0 || both.pool.free() < SIZE {
        yield_now().await;
    }
    both.is_at_rest_with(0).await;
    assert_eq!(both.ask("b").await, "B");
    both.pool.close().await;
    keeper.await.unwrap();
    both.end().await;
}

#[heist::test(local)]
async fn a_check_that_nobody_answers_ends_with_the_patience() {
    // It accepts, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings {
        check_after: Duration::ZERO,
        patience: Duration::from_millis(1),
        ..CALM
    };
    let pool = Arc::new(Pool::new(listener.local_addr().unwrap(), settings));
    // The connect has the same patience, which a slow machine may meet.
    while pool.with(async |_| Ok(())).await.is_err() {}
    let _silent = listener.accept().await.unwrap();
    let keeper = spawn({
        let pool = Arc::clone(&pool);
        async move { pool.keep().await }
    });
    while pool.idle().await > 0 || pool.free() < SIZE {
        yield_now().await;
    }
    pool.close().await;
    keeper.await.unwrap();
}

#[heist::test(local)]
async fn who_is_cut_short_at_any_await_leaves_nothing_behind() {
    for how in Cut::ALL {
        // With a connection that is there already, and without.
        for idle in [0, 1] {
            let (mut over, mut polls) = (false, 0);
            while !over {
                let both = Both::start(CALM).await;
                if idle > 0 {
                    both.ask("before").await;
                }
                let answer = how.after(polls, both.pool.with(talk)).await;
                over = answer.is_some();
                assert!(answer.is_none_or(|answer| answer.is_ok_and(|both| both == "ONETWO")));
                // It may have had none yet, or have thrown it away.
                let left = both.pool.idle().await;
                assert!(left <= idle.max(usize::from(over)));
                both.is_at_rest_with(left).await;
                assert_eq!(both.ask("after").await, "AFTER");
                both.end().await;
                polls += 1;
            }
            assert!(polls > 3, "it waited {polls} times");
        }
    }
}

#[heist::test(local)]
async fn who_is_cut_short_in_line_passes_its_turn_on() {
    for how in Cut::ALL {
        for polls in 0..8 {
            let both = Both::start(CALM).await;
            let go = Arc::new(Event::new());
            let holders = [(); SIZE].map(|()| {
                let (pool, go) = (Arc::clone(&both.pool), Arc::clone(&go));
                spawn(async move {
                    let held = pool.with(async |_| {
                        go.wait().await;
                        Ok(())
                    });
                    held.await
                })
            });
            until(|| both.pool.free() == 0).await;
            let pool = Arc::clone(&both.pool);
            let cut = spawn(async move { how.after(polls, pool.with(talk)).await });
            let pool = Arc::clone(&both.pool);
            let next = spawn(async move { ask(&pool, "next").await });
            yield_now().await;
            go.set();
            for holder in holders {
                holder.await.unwrap().unwrap();
            }
            cut.await.unwrap();
            assert_eq!(next.await.unwrap().unwrap(), "NEXT");
            let left = both.pool.idle().await;
            both.is_at_rest_with(left).await;
            both.end().await;
        }
    }
}

#[heist::test(local)]
async fn a_close_that_is_cut_short_at_any_await_can_be_done_again() {
    for how in Cut::ALL {
        let (mut over, mut polls) = (false, 0);
        while !over {
            let both = Both::start(CALM).await;
            both.ask("idle").await;
            let pool = Arc::clone(&both.pool);
            let user = spawn(async move { pool.with(talk).await });
            // It has its place, and keeps it over several awaits.
            until(|| both.pool.free() < SIZE).await;
            over = how.after(polls, both.pool.close()).await.is_some();
            assert_eq!(user.await.unwrap().unwrap(), "ONETWO");
            // Closed, or as before.
            let left = both.pool.idle().await;
            both.is_at_rest_with(left).await;
            both.end().await;
            polls += 1;
        }
        assert!(polls > 1, "it waited {polls} times");
    }
}

#[heist::test(local)]
async fn a_keeper_that_is_cut_short_at_any_await_leaves_nothing_behind() {
    let settings = Settings {
        check_after: Duration::ZERO,
        ..CALM
    };
    for how in Cut::ALL {
        let mut checked = 0;
        for polls in 0..20 {
            let both = Both::start(settings).await;
            both.ask("idle").await;
            let ended = how.after(polls, both.pool.keep()).await;
            assert!(ended.is_none(), "nobody has closed it");
            let left = both.pool.idle().await;
            both.is_at_rest_with(left).await;
            checked += both.seen.pings();
            // Another keeper can take over.
            let before = both.seen.pings();
            let pool = Arc::clone(&both.pool);
            let keeper = spawn(async move { pool.keep().await });
            both.ask("more").await;
            until(|| both.seen.pings() > before).await;
            both.pool.close().await;
            keeper.await.unwrap();
            both.end().await;
        }
        assert!(checked > 0, "none was cut short after a check");
    }
}

#[heist::test(local)]
async fn a_connect_that_is_refused_frees_its_place() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = Pool::new(listener.local_addr().unwrap(), CALM);
    drop(listener);
    for _ in 0..SIZE + 1 {
        let error = ask(&pool, "a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(pool.free(), SIZE);
    pool.close().await;
}

#[test]
fn the_program_serves_itself() {
    let output = example("connection_pool").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let counts = "500 requests answered, 40 broken, over ";
    assert!(text.starts_with(counts), "{text}");
    let most = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("the server has seen ")?
                .strip_suffix(" at once at most")
        })
        .unwrap();
    assert!((1..=4).contains(&most.parse::<usize>().unwrap()), "{text}");
}

/// The lines to which the server hangs up: fewer than the program's tries.
const BREAKS: [usize; 4] = [20, 40, 60, 80];

/// A server without heist.
#[test]
fn the_program_survives_connections_that_break() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let lines = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            let (stream, lines) = (stream.unwrap(), Arc::clone(&lines));
            // The other side may be gone at any time.
            thread::spawn(move || drop(capitals(stream, &lines)));
        }
    });
    let arguments = ["--clients", "10", "--requests", "9", "--size", "3", "--at"];
    let program = Program::start(example("connection_pool").args(arguments).arg(address));
    let (output, status) = program.finish();
    assert!(status.success(), "{output}");
    let (counts, over) = output.split_once(", over ").unwrap();
    assert_eq!(counts, "90 requests answered, 0 broken");
    let opened: usize = over.split(' ').next().unwrap().parse().unwrap();
    assert!(opened > BREAKS.len(), "{output}");
}

fn capitals(stream: std::net::TcpStream, lines: &AtomicUsize) -> std::io::Result<()> {
    let mut output = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        if BREAKS.contains(&lines.fetch_add(1, Ordering::SeqCst)) {
            return Ok(());
        }
        output.write_all(format!("{}\n", line?.to_uppercase()).as_bytes())?;
    }
    Ok(())
}

#[test]
fn bad_arguments_end_it() {
    for arguments in [["--size", "0"], ["--size", "x"], ["--what", "1"]] {
        let status = example("connection_pool")
            .args(arguments)
            .output()
            .unwrap()
            .status;
        assert!(!status.success(), "{arguments:?}");
    }
}
