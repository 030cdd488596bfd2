//! Queues and channels, and those who put and get.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use heist::sync::mpsc::{self, Receiver, Sender};
use heist::sync::{Closed, LifoQueue, PriorityQueue, Queue, TryPutError};
use heist::task::yield_now;

use super::Attempt;
use super::item::{End, Fates, Item};
use super::lines::{Gets, Puts, Whole};
use crate::counts::Counted;
use crate::oracle::{World, lock, stamp};
use crate::program::{Ask, Deed, Line, Room};

pub(super) struct Trade {
    /// `None`: in the end.
    lines: Option<Lines>,
    fates: Arc<Fates>,
    /// In which order items come out, per producer, to one who gets at a time.
    keeps_order: bool,
    getting: AtomicU64,
    /// Two got at once.
    mixed: AtomicBool,
    last: Mutex<BTreeMap<u64, u64>>,
}

enum Lines {
    Queue(Box<dyn Whole>),
    Channel {
        sender: Mutex<Option<Sender<Item>>>,
        receiver: Mutex<Slot>,
    },
}

/// Where the receiver of a channel is while nobody uses it.
struct Slot {
    receiver: Option<Receiver<Item>>,
    /// Nobody will any more.
    gone: bool,
}

impl Trade {
    pub(super) fn new(world: &Arc<World>, step: u32, line: Line, room: Room, hook: bool) -> Self {
        let fates = Fates::new(world, step, hook);
        let tell = |mut item: Item| item.ends(End::Undelivered);
        let fifo = || {
            let queue = match room {
                Room::None => Queue::rendezvous(),
                Room::Bounded(room) => Queue::bounded(room.into()),
                Room::Unbounded => Queue::unbounded(),
            };
            if hook {
                queue.on_undelivered(tell)
            } else {
                queue
            }
        };
        let lines = match (line, room) {
            (Line::Fifo, _) => Lines::Queue(Box::new(fifo())),
            (Line::Channel, _) => {
                let (sender, receiver) = mpsc::from_queue(fifo());
                Lines::Channel {
                    sender: Mutex::new(Some(sender)),
                    receiver: Mutex::new(Slot {
                        receiver: Some(receiver),
                        gone: false,
                    }),
                }
            }
            (Line::Lifo, Room::Bounded(room)) => {
                Lines::Queue(told(LifoQueue::bounded(room.into()), hook))
            }
            (Line::Lifo, _) => Lines::Queue(told(LifoQueue::unbounded(), hook)),
            (Line::Priority, Room::Bounded(room)) => {
                Lines::Queue(told(PriorityQueue::bounded(room.into()), hook))
            }
            (Line::Priority, _) => Lines::Queue(told(PriorityQueue::unbounded(), hook)),
        };
        Self {
            lines: Some(lines),
            fates,
            keeps_order: matches!(line, Line::Fifo | Line::Channel),
            getting: AtomicU64::new(0),
            mixed: AtomicBool::new(false),
            last: Mutex::default(),
        }
    }

    pub(super) async fn use_it(&self, attempt: &Attempt<'_>) {
        let Some(lines) = &self.lines else { return };
        match (attempt.deed.what, lines) {
            (Deed::Move, Lines::Queue(queue)) if attempt.seat.gives => {
                self.put(attempt, queue.puts()).await;
            }
            (Deed::Move, Lines::Queue(queue)) => self.get(attempt, queue.gets()).await,
            (Deed::Move, Lines::Channel { sender, .. }) if attempt.seat.gives => {
                let sender = lock(sender).clone();
                if let Some(sender) = sender {
                    self.put(attempt, &sender).await;
                }
            }
            (Deed::Move, Lines::Channel { receiver, .. }) => {
                let taken = lock(receiver).receiver.take();
                if let Some(taken) = taken {
                    let lent = Lent {
                        trade: self,
                        slot: receiver,
                        receiver: heist::sync::Mutex::new(Some(taken)),
                    };
                    self.get(attempt, &lent.receiver).await;
                }
            }
            (Deed::Join, Lines::Queue(queue)) => self.join(attempt, &**queue).await,
            (Deed::Join, Lines::Channel { .. }) => yield_now().await,
            (Deed::Close, Lines::Queue(queue)) => {
                self.fates.closed.store(true, SeqCst);
                queue.close();
            }
            (Deed::Close, Lines::Channel { receiver, .. }) => {
                self.fates.closed.store(true, SeqCst);
                if let Some(receiver) = &mut lock(receiver).receiver {
                    receiver.close();
                }
            }
            (Deed::CloseNow, lines) => self.throw_away(lines),
        }
    }

    async fn put(&self, attempt: &Attempt<'_>, line: &dyn Puts) {
        let by = stamp();
        let numbers = AtomicU64::new(0);
        let next = || Item::new(&self.fates, by, numbers.fetch_add(1, SeqCst));
        for _ in 0..attempt.deed.amount {
            let put = || {
                let item = next();
                Putting {
                    key: item.key(),
                    future: line.put(item),
                }
            };
            let blocking = || {
                let item = next();
                (item.key(), line.put_blocking(item))
            };
            let at_once = || {
                let item = next();
                let key = item.key();
                match line.try_put(item) {
                    Ok(()) => Some((key, Ok(()))),
                    Err(TryPutError::Closed(item)) => Some((key, Err(Closed(item)))),
                    Err(TryPutError::Full(mut item)) => {
                        item.ends(End::Refused);
                        None
                    }
                }
            };
            match attempt.wait(put, blocking, at_once).await {
                Some((key, Ok(()))) => self.fates.on_put(key),
                Some((_, Err(Closed(mut item)))) => {
                    item.ends(End::Refused);
                    if !self.fates.closed.load(SeqCst) {
                        attempt.arena().fail("it refuses an item and is open");
                    }
                    return;
                }
                None => {}
            }
        }
    }

    async fn get(&self, attempt: &Attempt<'_>, line: &dyn Gets) {
        let _getting = Getting::new(self);
        if attempt.deed.how == Ask::Race {
            // Two stand in line. Of items that both were given and give back the second one comes first, today.
            self.mixed.store(true, SeqCst);
        }
        for _ in 0..attempt.deed.amount {
            let get = || line.get();
            let got = attempt.wait(get, || line.get_blocking(), || line.try_get());
            match got.await {
                Some(Ok(mut item)) => {
                    item.ends(End::Got);
                    self.check_order(attempt, &item);
                    let done = Doing {
                        trade: self,
                        attempt,
                        item,
                    };
                    attempt.inside().await;
                    drop(done);
                }
                Some(Err(Closed(()))) if self.fates.closed.load(SeqCst) => return,
                Some(Err(Closed(()))) => attempt.arena().fail("it says that it is closed"),
                None => {}
            }
        }
    }

    fn check_order(&self, attempt: &Attempt<'_>, item: &Item) {
        let (by, number) = item.key();
        let last = lock(&self.last).insert(by, number);
        let wrong = last.is_some_and(|last| last >= number);
        if self.keeps_order && !self.mixed.load(SeqCst) && wrong {
            let text = format!("item {number} of {by} came after {last:?}");
            attempt.arena().fail(&text);
        }
    }

    async fn join(&self, attempt: &Attempt<'_>, queue: &dyn Whole) {
        let before = self.fates.unfinished();
        let joined = attempt.wait(|| queue.join(), || queue.join_blocking(), || None);
        if joined.await.is_some() {
            self.fates.check_done(&before);
            attempt.scene.world.count(Counted::Join);
        }
    }

    fn throw_away(&self, lines: &Lines) {
        self.fates.closed.store(true, SeqCst);
        self.fates.thrown.store(true, SeqCst);
        match lines {
            Lines::Queue(queue) => queue.close_now(),
            Lines::Channel { receiver, .. } => {
                let receiver = lock(receiver).receiver.take();
                drop(receiver);
            }
        }
    }

    pub(super) fn on_side_gone(&self, gives: bool) {
        let Some(lines) = &self.lines else { return };
        match (gives, lines) {
            (true, Lines::Queue(queue)) => {
                self.fates.closed.store(true, SeqCst);
                queue.close();
            }
            (true, Lines::Channel { sender, .. }) => {
                self.fates.closed.store(true, SeqCst);
                let sender = lock(sender).take();
                drop(sender);
            }
            (false, Lines::Queue(_)) => self.throw_away(lines),
            (false, Lines::Channel { receiver, .. }) => {
                lock(receiver).gone = true;
                self.throw_away(lines);
            }
        }
    }

    pub(super) fn check_end(&mut self) -> Option<String> {
        let lines = self.lines.take()?;
        let mut problem = None;
        let mut rest = Vec::new();
        match &lines {
            Lines::Queue(queue) => {
                rest = queue.drain();
                let done = rest.iter().all(|_| queue.task_done());
                let thrown = self.fates.thrown.load(SeqCst);
                if !thrown && (!done || queue.task_done()) {
                    problem = Some("not as many are done as were put".to_owned());
                }
                if !queue.is_in_order(&rest) {
                    let keys: Vec<_> = rest.iter().map(Item::key).collect();
                    problem = Some(format!("what is left is not in order: {keys:?}"));
                }
            }
            Lines::Channel { receiver, .. } => {
                let mut slot = lock(receiver);
                while let Some(Ok(item)) = slot.receiver.as_mut().map(Receiver::try_recv) {
                    rest.push(item);
                }
            }
        }
        for item in &mut rest {
            item.ends(End::Left);
        }
        self.fates.dropped.store(true, SeqCst);
        drop((rest, lines));
        problem.or_else(|| self.fates.check_end())
    }
}

fn told<S>(queue: heist::sync::OrderedQueue<S>, hook: bool) -> Box<dyn Whole>
where
    S: heist::sync::Store<Item = Item> + Send + 'static,
    heist::sync::OrderedQueue<S>: Whole,
{
    Box::new(if hook {
        queue.on_undelivered(|mut item: Item| item.ends(End::Undelivered))
    } else {
        queue
    })
}

impl fmt::Debug for Trade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.lines {
            Some(Lines::Queue(queue)) => queue.fmt(f)?,
            Some(Lines::Channel { sender, .. }) => lock(sender).fmt(f)?,
            None => f.write_str("a queue that is gone")?,
        }
        write!(f, ", unfinished {:?}", self.fates.unfinished())
    }
}

/// A receiver that goes back to its slot, or goes if nobody will receive any more.
struct Lent<'a> {
    trade: &'a Trade,
    slot: &'a Mutex<Slot>,
    receiver: heist::sync::Mutex<Option<Receiver<Item>>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut slot = lock(self.slot);
        slot.receiver = self.receiver.get_mut().take();
        if slot.gone {
            self.trade.fates.closed.store(true, SeqCst);
            self.trade.fates.thrown.store(true, SeqCst);
            let receiver = slot.receiver.take();
            drop(slot);
            drop(receiver);
        }
    }
}

/// Somebody gets.
struct Getting<'a>(&'a Trade);

impl<'a> Getting<'a> {
    fn new(trade: &'a Trade) -> Self {
        if trade.getting.fetch_add(1, SeqCst) > 0 {
            trade.mixed.store(true, SeqCst);
        }
        Self(trade)
    }
}

impl Drop for Getting<'_> {
    fn drop(&mut self) {
        self.0.getting.fetch_sub(1, SeqCst);
    }
}

/// Somebody has an item, which is done when this is dropped.
struct Doing<'a> {
    trade: &'a Trade,
    attempt: &'a Attempt<'a>,
    item: Item,
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        let fates = &self.trade.fates;
        fates.on_done(self.item.key());
        let Some(Lines::Queue(queue)) = &self.trade.lines else {
            return;
        };
        if !queue.task_done() && !fates.thrown.load(SeqCst) {
            self.attempt
                .arena()
                .fail("an item is done that was not put");
        }
    }
}

/// A `put`, and what it puts.
struct Putting<'a> {
    key: (u64, u64),
    future: Pin<Box<dyn Future<Output = Result<(), Closed<Item>>> + Send + 'a>>,
}

impl Future for Putting<'_> {
    type Output = ((u64, u64), Result<(), Closed<Item>>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.future.as_mut().poll(cx));
        Poll::Ready((self.key, result))
    }
}
