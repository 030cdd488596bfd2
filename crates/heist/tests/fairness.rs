//! Nobody waits for ever behind tasks that take long, or that are always ready.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(unix)]

mod support;

use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::AsyncReadExt;
use heist::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use heist::task::yield_now;
use heist::time::{interval, sleep};
use heist::{Handle, promise};
use support::{beside_a_local_runtime, bounded, left_alone, lone_worker};

const MS: Duration = Duration::from_millis(1);

/// Takes the processor for so long.
fn work(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn long_polls_keep_no_spawn_timer_or_socket_waiting() {
    const CROWD: usize = 5;
    bounded(|| {
        let runtime = lone_worker();
        let (polls, over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        for _ in 0..CROWD {
            let (polls, over) = (Arc::clone(&polls), Arc::clone(&over));
            runtime
                .spawn(async move {
                    while !over.load(Ordering::SeqCst) {
                        polls.fetch_add(1, Ordering::SeqCst);
                        work(2 * MS);
                        yield_now().await;
                    }
                })
                .detach();
        }
        let now = || polls.load(Ordering::SeqCst);
        while now() < 10 * CROWD {
            thread::yield_now();
        }
        for _ in 0..10 {
            let counter = Arc::clone(&polls);
            let spawned = runtime.spawn(async move { counter.load(Ordering::SeqCst) });
            // Counted from when it was there, however long this thread had to wait for a processor.
            let before = now();
            let spawn = spawned.wait_blocking().unwrap().saturating_sub(before);

            let counter = Arc::clone(&polls);
            let slept = runtime.spawn(async move {
                let before = counter.load(Ordering::SeqCst);
                sleep(MS).await;
                counter.load(Ordering::SeqCst) - before
            });
            let timer = slept.wait_blocking().unwrap();

            let (ours, mut theirs) = StdStream::pair().unwrap();
            let (begun, begins) = channel();
            let counter = Arc::clone(&polls);
            let entered = runtime.enter();
            let mut ours = UnixStream::try_from(ours).unwrap();
            drop(entered);
            let reads = runtime.spawn(async move {
                begun.send(()).unwrap();
                ours.read_exact(&mut [0]).await.unwrap();
                counter.load(Ordering::SeqCst)
            });
            begins.recv().unwrap();
            theirs.write_all(b"x").unwrap();
            let before = now();
            let socket = reads.wait_blocking().unwrap().saturating_sub(before);
            // A tenth of a second.
            for (what, waited) in [("spawn", spawn), ("timer", timer), ("socket", socket)] {
                assert!(waited <= 10 * CROWD, "{what}: {waited} polls went first");
            }
        }
        over.store(true, Ordering::SeqCst);
    });
}

/// Runs `busy` on a lone worker until another task has had so many turns, and says how often `busy` was ready.
fn beside<F>(busy: impl FnOnce(Arc<AtomicUsize>) -> F) -> usize
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = lone_worker();
    let ready = Arc::new(AtomicUsize::new(0));
    let busy = runtime.spawn(busy(Arc::clone(&ready)));
    while ready.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let counter = Arc::clone(&ready);
    let other = runtime.spawn(async move {
        let before = counter.load(Ordering::SeqCst);
        for _ in 0..TURNS {
            yield_now().await;
        }
        counter.load(Ordering::SeqCst) - before
    });
    let meanwhile = runtime.block_on(other).unwrap();
    busy.abort();
    let _ = runtime.block_on(busy);
    meanwhile
}

const TURNS: usize = 20;

/// How often leaf futures may be ready in one poll.
const BUDGET: usize = 128;

#[test]
fn sockets_and_intervals_that_are_always_ready_let_others_have_their_turn() {
    bounded(|| {
        let peeks = beside(|ready| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await;
            let (server, _) = listener.accept().await.unwrap();
            client.unwrap().try_write(b"a").unwrap();
            loop {
                assert_eq!(server.peek(&mut [0; 8]).await.unwrap(), 1);
                ready.fetch_add(1, Ordering::SeqCst);
            }
        });
        let ticks = beside(|ready| async move {
            // Behind from the first tick on, for ever.
            let mut ticks = interval(Duration::from_nanos(1));
            loop {
                ticks.tick().await;
                ready.fetch_add(1, Ordering::SeqCst);
            }
        });
        let datagrams = beside(|ready| async move {
            let own = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            own.connect(own.local_addr().unwrap()).await.unwrap();
            loop {
                own.send(b"a").await.unwrap();
                own.recv(&mut [0; 8]).await.unwrap();
                ready.fetch_add(2, Ordering::SeqCst);
            }
        });
        for (what, meanwhile) in [("TCP", peeks), ("interval", ticks), ("UDP", datagrams)] {
            assert!(meanwhile > 0, "{what} was not busy");
            // Once more for the turn that was under way.
            let most = (TURNS + 1) * BUDGET;
            assert!(meanwhile <= most, "{what}: {meanwhile} times");
        }
    });
}

/// Tasks that never have to wait, and how that comes.
#[derive(Clone, Copy, Debug)]
enum Busy {
    /// In pairs.
    WakeEachOther,
    WakeThemselves,
    Yield,
    AwaitWhatIsReady,
    /// Each is over soon, and has spawned the next one by then.
    SpawnTheNext,
    /// Each is over soon, and another thread has spawned more by then.
    ComeFromOutside,
}

const WAYS: [Busy; 6] = [
    Busy::WakeEachOther,
    Busy::WakeThemselves,
    Busy::Yield,
    Busy::AwaitWhatIsReady,
    Busy::SpawnTheNext,
    Busy::ComeFromOutside,
];

/// So many of them at a time, or pairs.
const COPIES: usize = 3;

/// So many of those from outside.
const FLOOD: usize = 200;

/// What busy tasks have done so far, and whether they may end.
#[derive(Clone, Default)]
struct Turns(Arc<(AtomicUsize, AtomicBool)>);

impl Turns {
    fn now(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    /// One more. `false`: it was the last one.
    fn take(&self) -> bool {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        !self.0.1.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.0.1.store(true, Ordering::SeqCst);
    }
}

impl Busy {
    /// Fills `own` with such tasks, and returns when they run.
    fn start(self, own: &Handle, turns: &Turns) {
        for _ in 0..COPIES {
            match self {
                Self::WakeEachOther => {
                    let wakers = Arc::default();
                    own.spawn(play(&wakers, 0, turns.clone())).detach();
                    own.spawn(play(&wakers, 1, turns.clone())).detach();
                }
                Self::WakeThemselves => {
                    let turns = turns.clone();
                    let wakes = poll_fn(move |cx| {
                        cx.waker().wake_by_ref();
                        if turns.take() {
                            Poll::Pending
                        } else {
                            Poll::Ready(())
                        }
                    });
                    own.spawn(wakes).detach();
                }
                Self::Yield => {
                    let turns = turns.clone();
                    let yields = async move {
                        while turns.take() {
                            yield_now().await;
                        }
                    };
                    own.spawn(yields).detach();
                }
                Self::AwaitWhatIsReady => {
                    let turns = turns.clone();
                    let awaits = async move {
                        let (promise, deferred) = promise();
                        promise.set_result(()).unwrap();
                        let ready = deferred.share();
                        while turns.take() {
                            ready.clone().await.unwrap();
                        }
                    };
                    own.spawn(awaits).detach();
                }
                Self::SpawnTheNext => spawn_the_next(own.clone(), turns.clone()),
                Self::ComeFromOutside => flood(own.clone(), turns.clone()),
            }
        }
        let begun = Instant::now();
        while turns.now() < COPIES {
            assert!(begun.elapsed() < PATIENCE, "{self:?} do not run");
            thread::yield_now();
        }
    }

    /// The same in what they count.
    fn most(self) -> usize {
        match self {
            Self::AwaitWhatIsReady => FEW * BUDGET,
            // Those that were there before, and some that the worker has taken in since.
            Self::ComeFromOutside => FEW + 2 * COPIES * FLOOD,
            _ => FEW,
        }
    }
}

/// Polls of theirs before somebody else has a turn, at most.
const FEW: usize = 61;

const PATIENCE: Duration = Duration::from_secs(8);

/// Takes turns with another one: each wakes the other.
fn play(
    wakers: &Arc<[Mutex<Option<Waker>>; 2]>,
    mine: usize,
    turns: Turns,
) -> impl Future<Output = ()> + use<> {
    let wakers = Arc::clone(wakers);
    poll_fn(move |cx| {
        *wakers[mine].lock().unwrap() = Some(cx.waker().clone());
        let other = wakers[1 - mine].lock().unwrap().take();
        other.inspect(Waker::wake_by_ref);
        if turns.take() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
}

fn spawn_the_next(own: Handle, turns: Turns) {
    let next = own.clone();
    let spawns = async move {
        if turns.take() {
            spawn_the_next(next, turns);
        }
    };
    own.spawn(spawns).detach();
}

fn flood(own: Handle, turns: Turns) {
    let under_way = Arc::new(AtomicUsize::new(0));
    let spawns = move || {
        while !turns.0.1.load(Ordering::SeqCst) {
            if under_way.load(Ordering::SeqCst) == FLOOD {
                thread::yield_now();
                continue;
            }
            under_way.fetch_add(1, Ordering::SeqCst);
            let (turns, under_way) = (turns.clone(), Arc::clone(&under_way));
            let drop_of = async move {
                turns.take();
                under_way.fetch_sub(1, Ordering::SeqCst);
            };
            own.spawn(drop_of).detach();
        }
    };
    thread::spawn(spawns);
}

/// Somebody who wants a turn beside them.
struct Other {
    what: &'static str,
    /// Waits for it, and says what they did meanwhile.
    wait: fn(&Handle, &Turns) -> Told<usize>,
    /// Whether it comes by the clock, however much they do in that time.
    by_the_clock: fn(Busy) -> bool,
}

const OTHERS: [Other; 6] = [
    Other {
        what: "a spawn from outside",
        wait: |own, turns| {
            let polled = turns.clone();
            let spawned = begin(own, async move { polled.now() });
            // Counted from when it was there, however long this thread had to wait for a processor.
            let before = turns.now();
            heard(&spawned).map(|at| at.saturating_sub(before))
        },
        by_the_clock: |_| false,
    },
    Other {
        what: "a wake from outside",
        wait: |own, turns| {
            let (wake, woken) = promise::<()>();
            let (begun, begins) = channel();
            let polled = turns.clone();
            let waits = begin(own, async move {
                begun.send(()).unwrap();
                woken.await.unwrap();
                polled.now()
            });
            heard(&begins)?;
            wake.set_result(()).unwrap();
            let before = turns.now();
            heard(&waits).map(|at| at.saturating_sub(before))
        },
        by_the_clock: |_| false,
    },
    Other {
        what: "a spawn and a wake by a task",
        wait: |own, turns| {
            let turns = turns.clone();
            heard(&begin(own, async move {
                let before = turns.now();
                let (wake, woken) = promise::<()>();
                let child = heist::spawn(async move { woken.await.unwrap() });
                heist::spawn(async move { wake.set_result(()).unwrap() }).detach();
                child.await.unwrap();
                // The child begins, its waker runs, the child ends, this one is back.
                (turns.now() - before) / 4
            }))
        },
        // Newer ones go first, until the oldest are moved out of their way.
        by_the_clock: |busy| matches!(busy, Busy::SpawnTheNext),
    },
    Other {
        what: "a task that yields",
        wait: |own, turns| {
            let turns = turns.clone();
            heard(&begin(own, async move {
                let before = turns.now();
                for _ in 0..TURNS {
                    yield_now().await;
                }
                (turns.now() - before) / TURNS
            }))
        },
        by_the_clock: |_| false,
    },
    Other {
        what: "a timer",
        wait: |own, turns| {
            let turns = turns.clone();
            heard(&begin(own, async move {
                let before = turns.now();
                sleep(MS).await;
                turns.now() - before
            }))
        },
        by_the_clock: |_| true,
    },
    Other {
        what: "a socket",
        wait: |own, turns| {
            let (ours, mut theirs) = StdStream::pair().unwrap();
            let (begun, begins) = channel();
            let polled = turns.clone();
            let reads = begin(own, async move {
                let mut ours = UnixStream::try_from(ours).unwrap();
                begun.send(()).unwrap();
                ours.read_exact(&mut [0]).await.unwrap();
                polled.now()
            });
            heard(&begins)?;
            theirs.write_all(b"x").unwrap();
            let before = turns.now();
            heard(&reads).map(|at| at.saturating_sub(before))
        },
        by_the_clock: |_| true,
    },
];

/// Spawns it, and says where its output is to be heard.
fn begin<T: Send + 'static>(
    own: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> Receiver<T> {
    let (tell, told) = channel();
    own.spawn(async move { tell.send(future.await) }).detach();
    told
}

fn heard<T>(told: &Receiver<T>) -> Told<T> {
    told.recv_timeout(PATIENCE)
}

type Told<T> = Result<T, RecvTimeoutError>;

/// Everybody has their turn beside tasks that are `busy`. `count`: and before these have done much.
fn nobody_starves(own: &Handle, busy: Busy, count: bool) {
    let turns = Turns::default();
    busy.start(own, &turns);
    for other in OTHERS {
        let what = other.what;
        for _ in 0..3 {
            let meanwhile = (other.wait)(own, &turns)
                .unwrap_or_else(|error| panic!("{busy:?}: no turn for {what}: {error}"));
            let uncounted = !count || (other.by_the_clock)(busy);
            let few = uncounted || meanwhile <= busy.most();
            assert!(few, "{busy:?}: {meanwhile} before {what}");
        }
    }
    turns.end();
}

#[test]
fn tasks_that_never_wait_keep_nobody_waiting_on_a_worker() {
    for busy in WAYS {
        bounded(move || nobody_starves(lone_worker().handle(), busy, true));
    }
}

#[test]
fn tasks_that_never_wait_keep_nobody_waiting_on_several_workers() {
    for busy in WAYS {
        // Which of them is given a processor, and how often, is not theirs to say.
        bounded(move || nobody_starves(left_alone(2).handle(), busy, false));
    }
}

#[test]
fn tasks_that_never_wait_keep_nobody_waiting_on_a_local_runtime() {
    for busy in WAYS {
        bounded(move || {
            beside_a_local_runtime(|own| nobody_starves(own, busy, true));
        });
    }
}
