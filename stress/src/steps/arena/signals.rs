//! Notifications, events, barriers and broadcasts.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use heist::sync::{Barrier, Event, Notify, broadcast};

use super::Attempt;
use crate::counts::Counted;
use crate::oracle::lock;
use crate::program::Common;

pub(super) struct Signals {
    signal: Signal,
    /// Nobody will give any more.
    ended: AtomicBool,
}

enum Signal {
    /// How often one was told, and how often one has heard it; whether all were told at once.
    Notify {
        notify: Notify,
        told: AtomicU64,
        heard: AtomicU64,
        all: AtomicBool,
    },
    Event(Event),
    /// How often each place was given to somebody.
    Barrier {
        barrier: Barrier,
        places: Vec<AtomicU64>,
    },
    Broadcast(Mutex<Numbers>),
}

/// Who sends the next number. The lock is for their order.
struct Numbers {
    sender: Option<broadcast::Sender<u64>>,
    next: u64,
}

impl Signals {
    pub(super) fn new(common: Common, attending: usize) -> Self {
        let signal = match common {
            Common::Event => Signal::Event(Event::new()),
            Common::Barrier { parties } => {
                // With fewer than it is for nobody would ever go on.
                let parties = usize::from(parties).min(attending);
                Signal::Barrier {
                    barrier: Barrier::new(parties),
                    places: (0..parties).map(|_| AtomicU64::new(0)).collect(),
                }
            }
            Common::Broadcast { keeps } => Signal::Broadcast(Mutex::new(Numbers {
                sender: Some(broadcast::channel(keeps.into()).0),
                next: 0,
            })),
            _ => Signal::Notify {
                notify: Notify::new(),
                told: AtomicU64::new(0),
                heard: AtomicU64::new(0),
                all: AtomicBool::new(false),
            },
        };
        Self {
            signal,
            ended: AtomicBool::new(false),
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    pub(super) async fn use_it(&self, attempt: &Attempt<'_>) {
        match &self.signal {
            Signal::Barrier { barrier, places } => self.meet(attempt, barrier, places).await,
            _ if attempt.seat.gives => self.give(attempt),
            Signal::Notify { .. } => self.hear(attempt).await,
            Signal::Event(event) => self.wait_for(attempt, event).await,
            Signal::Broadcast(numbers) => self.receive(attempt, numbers).await,
        }
    }

    fn give(&self, attempt: &Attempt<'_>) {
        let amount = attempt.deed.amount;
        match &self.signal {
            Signal::Notify {
                notify, told, all, ..
            } => {
                for _ in 0..amount {
                    told.fetch_add(1, SeqCst);
                    notify.notify_one();
                }
                if attempt.step.number.is_multiple_of(5) {
                    all.store(true, SeqCst);
                    notify.notify_waiters();
                }
            }
            Signal::Event(event) => {
                event.set();
                if amount > 1 {
                    event.clear();
                    // It was set for good in between, and that is over now.
                    if self.has_ended() {
                        event.set();
                    }
                }
            }
            Signal::Broadcast(numbers) => {
                for _ in 0..amount {
                    let mut numbers = lock(numbers);
                    numbers.next += 1;
                    if let Some(sender) = &numbers.sender {
                        // Nobody may receive.
                        let _ = sender.send(numbers.next);
                    }
                }
            }
            Signal::Barrier { .. } => {}
        }
    }

    /// One notification after the other; whoever hears the last one passes it on, so that all do.
    async fn hear(&self, attempt: &Attempt<'_>) {
        let Signal::Notify {
            notify,
            told,
            heard,
            all,
        } = &self.signal
        else {
            return;
        };
        for _ in 0..attempt.deed.amount {
            if self.has_ended() {
                return;
            }
            let pass_on = || {
                let heard = heard.fetch_add(1, SeqCst) + 1;
                let told_now = told.load(SeqCst);
                if heard > told_now && !all.load(SeqCst) {
                    let text = format!("{heard} have heard what was told {told_now} times");
                    attempt.arena().fail(&text);
                }
                if self.has_ended() {
                    told.fetch_add(1, SeqCst);
                    notify.notify_one();
                }
            };
            let hear = || async {
                notify.notified().await;
                pass_on();
            };
            let blocking = || {
                notify.wait_blocking();
                pass_on();
            };
            if attempt.wait(hear, blocking, || None).await.is_some() {
                attempt.scene.world.count(Counted::Signal);
            }
        }
    }

    async fn wait_for(&self, attempt: &Attempt<'_>, event: &Event) {
        let at_once = || event.is_set().then_some(());
        let waited = attempt.wait(|| event.wait(), || event.wait_blocking(), at_once);
        if waited.await.is_some() {
            attempt.scene.world.count(Counted::Signal);
        }
    }

    async fn meet(&self, attempt: &Attempt<'_>, barrier: &Barrier, places: &[AtomicU64]) {
        let broken = self.has_ended();
        let come = || barrier.wait();
        match attempt
            .wait(come, || barrier.wait_blocking(), || None)
            .await
        {
            Some(Ok(_)) if broken => attempt.arena().fail("a meeting after the end"),
            Some(Ok(place)) => {
                places[place].fetch_add(1, SeqCst);
                attempt.scene.world.count(Counted::Signal);
            }
            _ => {}
        }
    }

    /// Numbers come one after the other, and none is missing that was not said to be.
    async fn receive(&self, attempt: &Attempt<'_>, numbers: &Mutex<Numbers>) {
        let subscribe = |numbers: &mut Numbers| numbers.sender.as_ref().map(|s| s.subscribe());
        let Some(receiver) = subscribe(&mut lock(numbers)) else {
            return;
        };
        let receiver = heist::sync::Mutex::new(receiver);
        let mut last: Option<u64> = None;
        for _ in 0..attempt.deed.amount {
            let receive = || async { receiver.lock().await.recv().await };
            let blocking = || receiver.lock_blocking().recv_blocking();
            let at_once = || receiver.try_lock().ok()?.try_recv().ok().map(Ok);
            match attempt.wait(receive, blocking, at_once).await {
                Some(Ok(number)) => {
                    if last.is_some_and(|last| number != last + 1) {
                        let text = format!("{number} was received after {last:?}");
                        attempt.arena().fail(&text);
                    }
                    last = Some(number);
                    attempt.scene.world.count(Counted::Signal);
                }
                Some(Err(broadcast::RecvError::Lagged(count))) => {
                    last = last.map(|last| last + count as u64);
                }
                Some(Err(broadcast::RecvError::Closed)) if self.has_ended() => return,
                Some(Err(broadcast::RecvError::Closed)) => attempt.arena().fail("closed too early"),
                None => {}
            }
        }
    }

    pub(super) fn on_givers_gone(&self) {
        self.ended.store(true, SeqCst);
        match &self.signal {
            Signal::Notify { notify, told, .. } => {
                told.fetch_add(1, SeqCst);
                notify.notify_one();
            }
            Signal::Event(event) => event.set(),
            Signal::Broadcast(numbers) => drop(lock(numbers).sender.take()),
            Signal::Barrier { .. } => {}
        }
    }

    /// Too few may be left for another meeting.
    pub(super) fn on_party_gone(&self) {
        if let Signal::Barrier { barrier, .. } = &self.signal {
            barrier.abort();
            self.ended.store(true, SeqCst);
        }
    }

    pub(super) fn check_end(&mut self) -> Option<String> {
        match &self.signal {
            // The one who comes last makes the meeting, and nobody can take that from it.
            Signal::Barrier { places, .. } => {
                let times: Vec<u64> = places.iter().map(|times| times.load(SeqCst)).collect();
                let meetings = times.last();
                let wrong = times.iter().any(|times| Some(times) > meetings);
                wrong.then(|| format!("the places of a barrier were given {times:?} times"))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.signal {
            Signal::Notify {
                notify,
                told,
                heard,
                ..
            } => write!(f, "{notify:?}, told {told:?}, heard {heard:?}"),
            Signal::Event(event) => event.fmt(f),
            Signal::Barrier { barrier, places } => write!(f, "{barrier:?}, {places:?}"),
            Signal::Broadcast(numbers) => write!(f, "broadcast of {}", lock(numbers).next),
        }?;
        write!(f, ", ended {:?}", self.ended)
    }
}
