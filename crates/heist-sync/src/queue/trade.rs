//! What happens between those who put and those who get: one lock, two lines.
//!
//! # Invariants, whenever it is unlocked
//! * INV-1: while somebody waits for an item, nothing is in store.
//! * INV-2: while somebody waits for room, there is none: items and promised places are as many as the capacity, or more.
//! * INV-3: a place is promised to whoever was served as `Placed` and has not been polled since.
//! * INV-4: nobody who gets is told that the queue is closed while an item may come back: as long as one is given.
//!
//! Whoever waits for an item gets it put into its own place in the line; it gives it back when it goes away. Whoever waits for room is
//! promised a place, and puts when it is polled: a future that was dropped before it said so has put nothing. Where the capacity is
//! none, who gets takes from who puts.

use std::mem;

use super::store::Store;
use super::store::sealed::Numbered;
use crate::sync::{Acquire, AtomicBool, Relaxed, Release, mutated};
use crate::until::Condition;
use crate::wait_list::{Ends, Left, Locked, Primitive, WaitList};

/// The lines.
pub(super) const GET: usize = 0;
pub(super) const PUT: usize = 1;

/// What does not change.
pub(super) struct Trade<S: Store> {
    /// `usize::MAX`: there is always room.
    pub(super) capacity: usize,
    pub(super) on_undelivered: Option<Box<dyn Fn(S::Item) + Send + Sync>>,
    pub(super) join: WaitList<AllDone>,
}

/// What the lock guards.
pub(super) struct Content<S> {
    pub(super) store: S,
    /// Places that were promised.
    promised: usize,
    /// Items that somebody was given who has not been polled since.
    given: usize,
    /// How many were put.
    number: u64,
    pub(super) is_closed: bool,
    /// Whatever comes back is thrown away.
    is_thrown_away: bool,
    /// Items that were put and are not done.
    pub(super) unfinished: usize,
}

/// Whether nothing is unfinished; changes under the lock of the queue.
pub(super) struct AllDone(AtomicBool);

impl Condition for AllDone {
    type Guarded = ();
}

impl AllDone {
    pub(super) fn holds(&self) -> bool {
        // ORDERING(queue-done): takes what was done with the items.
        self.0.load(Acquire)
    }
}

/// What a future waits with, and what it was served.
pub(super) enum Stake<T> {
    /// For an item. Served with none: the queue is closed.
    Get(Option<Numbered<T>>),
    /// For room.
    Put(T),
    /// Served: a place was promised.
    Placed(T),
    /// Served: somebody has taken the item.
    Taken,
    /// Served: the queue is closed.
    Refused(T),
}

/// What became of an attempt to put, with the item where it was not put.
pub(super) enum Put<T> {
    Done,
    Full(T),
    Closed(T),
}

/// What became of an attempt to get.
pub(super) enum Got<T> {
    Item(T),
    Empty,
    Closed,
}

impl<S: Store> Primitive for Trade<S> {
    type Guarded = Content<S>;
    type Value = Stake<S::Item>;
    type Lines = [Ends<Self::Value>; 2];

    fn on_leave(line: &mut Locked<'_, Self>, left: Left<Self::Value>) -> Option<Self::Value> {
        match left {
            Left::Served(Stake::Get(Some(item))) => {
                let thrown_away = line.guarded().is_thrown_away;
                let rest = if thrown_away {
                    Some(Stake::Get(Some(item)))
                } else {
                    if !mutated("turn-kept") {
                        give_back(line, item);
                    }
                    None
                };
                claimed(line);
                rest
            }
            Left::Served(Stake::Placed(item)) => {
                line.guarded().promised -= 1;
                if !mutated("turn-kept") {
                    promise(line);
                }
                Some(Stake::Placed(item))
            }
            Left::Waiting(stake) | Left::Served(stake) => Some(stake),
        }
    }

    fn discard(list: &WaitList<Self>, rest: Self::Value) {
        match rest {
            Stake::Get(Some(item)) => {
                // It had been put, so that it was to be done.
                let _ = list.done(1);
                list.open.undelivered(item.item);
            }
            Stake::Put(item) | Stake::Placed(item) | Stake::Refused(item) => {
                list.open.undelivered(item);
            }
            Stake::Get(None) | Stake::Taken => {}
        }
    }
}

impl<S: Store> Trade<S> {
    pub(super) fn undelivered(&self, item: S::Item) {
        match &self.on_undelivered {
            Some(hook) => hook(item),
            None => drop(item),
        }
    }

    pub(super) fn undelivered_all(&self, mut rest: S) {
        if self.on_undelivered.is_some() {
            while let Some(kept) = rest.pop() {
                self.undelivered(kept.item);
            }
        }
    }
}

impl<S: Store> WaitList<Trade<S>> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let trade = Trade {
            capacity,
            on_undelivered: None,
            join: WaitList::new(AllDone(AtomicBool::new(true)), ()),
        };
        let content = Content {
            store: S::default(),
            promised: 0,
            given: 0,
            number: 0,
            is_closed: false,
            is_thrown_away: false,
            unfinished: 0,
        };
        Self::new(trade, content)
    }

    /// Items that were put are done. `false`: so many were not put.
    pub(super) fn done(&self, count: usize) -> bool {
        let mut locked = self.lock();
        let Some(left) = locked.guarded().unfinished.checked_sub(count) else {
            return false;
        };
        locked.guarded().unfinished = left;
        if left == 0 {
            // Both locks at once: whoever puts next and then joins is not among those who are served.
            let joining = self.open.join.lock();
            // ORDERING(queue-done): gives what was done with the items, here and before this lock was taken, to whoever joins.
            self.open.join.open.0.store(true, Release);
            drop(locked);
            if !mutated("join-untold") {
                self.open.join.serve_all(joining);
            }
        }
        true
    }

    /// Closes the queue, and throws away what is in it or comes back if `now`.
    pub(super) fn close(&self, now: bool) {
        let mut locked = self.lock();
        let content = locked.guarded();
        let rest = if now {
            content.is_thrown_away = true;
            mem::take(&mut content.store)
        } else {
            S::default()
        };
        if !mem::replace(&mut content.is_closed, true) && !mutated("close-untold") {
            if locked.guarded().given == 0 || mutated("closed-early") {
                self.serve_all_in(GET, locked, |_| {});
            } else {
                drop(locked);
            }
            self.serve_all_in(PUT, self.lock(), |stake| {
                *stake = match mem::replace(stake, Stake::Taken) {
                    Stake::Put(item) => Stake::Refused(item),
                    stake => stake,
                };
            });
        } else {
            drop(locked);
        }
        if !rest.is_empty() {
            // Somebody may have called `task_done` for what is thrown away.
            let unfinished = self.lock().guarded().unfinished;
            self.done(rest.len().min(unfinished));
            self.open.undelivered_all(rest);
        }
    }
}

/// Puts without waiting. Nobody overtakes those who wait for room.
pub(super) fn put<S: Store>(line: &mut Locked<'_, Trade<S>>, item: S::Item) -> Put<S::Item> {
    if line.guarded().is_closed {
        return Put::Closed(item);
    }
    if line.waiting_in(PUT) > 0 {
        return Put::Full(item);
    }
    if line.waiting_in(GET) == 0 && !has_room(line) {
        return Put::Full(item);
    }
    let item = number(line, item);
    if let Some(item) = hand_over(line, item) {
        line.guarded().store.push(item);
    }
    count(line);
    Put::Done
}

/// Puts in the place that was promised.
pub(super) fn put_placed<S: Store>(line: &mut Locked<'_, Trade<S>>, item: S::Item) -> Put<S::Item> {
    line.guarded().promised -= 1;
    if line.guarded().is_closed {
        return Put::Closed(item);
    }
    let item = number(line, item);
    match hand_over(line, item) {
        // Its place is free.
        None => promise(line),
        Some(item) => line.guarded().store.push(item),
    }
    count(line);
    Put::Done
}

/// Gets without waiting. Nobody overtakes those who wait for an item: where somebody does, there is none, by INV-1.
pub(super) fn get<S: Store>(line: &mut Locked<'_, Trade<S>>) -> Got<S::Item> {
    if let Some(kept) = line.guarded().store.pop() {
        promise(line);
        return Got::Item(kept.item);
    }
    if line.open.capacity == 0 {
        if let Some(item) = take_over(line) {
            count(line);
            return Got::Item(item);
        }
    }
    let content = line.guarded();
    if content.is_closed && (content.given == 0 || mutated("closed-early")) {
        Got::Closed
    } else {
        Got::Empty
    }
}

/// What somebody gets who was given an item: another one, if one was put since that comes before it.
pub(super) fn claim<S: Store>(list: &WaitList<Trade<S>>, item: Numbered<S::Item>) -> S::Item {
    let mut line = list.lock();
    claimed(&mut line);
    let store = &mut line.guarded().store;
    if S::KEEPS_ORDER || store.is_empty() {
        return item.item;
    }
    store.push(item);
    match store.pop() {
        Some(kept) => kept.item,
        None => unreachable!("one was put just now"),
    }
}

/// Somebody who was given an item has come for it, or has gone away.
fn claimed<S: Store>(line: &mut Locked<'_, Trade<S>>) {
    let content = line.guarded();
    content.given -= 1;
    if content.is_closed && content.given == 0 {
        // Nothing comes back any more (INV-4).
        while line.serve_in(GET) {}
    }
}

fn number<S: Store>(line: &mut Locked<'_, Trade<S>>, item: S::Item) -> Numbered<S::Item> {
    let number = &mut line.guarded().number;
    *number += 1;
    Numbered {
        number: *number,
        item,
    }
}

/// Gives the item to the first who waits for one. Gives it back if nobody does.
fn hand_over<S: Store>(
    line: &mut Locked<'_, Trade<S>>,
    item: Numbered<S::Item>,
) -> Option<Numbered<S::Item>> {
    let mut item = Some(item);
    let given = line.first_in(GET, |stake| *stake = Stake::Get(item.take()));
    if given.is_some() {
        line.guarded().given += 1;
        line.serve_in(GET);
    }
    item
}

/// Takes the item of the first who waits for room.
fn take_over<S: Store>(line: &mut Locked<'_, Trade<S>>) -> Option<S::Item> {
    let stake = line.first_in(PUT, |stake| mem::replace(stake, Stake::Taken))?;
    line.serve_in(PUT);
    match stake {
        Stake::Put(item) => Some(item),
        _ => unreachable!("whoever waits for room has an item"),
    }
}

/// Somebody goes away who was given an item.
fn give_back<S: Store>(line: &mut Locked<'_, Trade<S>>, item: Numbered<S::Item>) {
    if let Some(item) = hand_over(line, item) {
        line.guarded().store.push(item);
    }
}

fn has_room<S: Store>(line: &mut Locked<'_, Trade<S>>) -> bool {
    let capacity = line.open.capacity;
    let content = line.guarded();
    content.store.len() + content.promised < capacity
}

/// Promises what room there is to those who wait for it.
fn promise<S: Store>(line: &mut Locked<'_, Trade<S>>) {
    while line.waiting_in(PUT) > 0 && has_room(line) {
        line.guarded().promised += 1;
        line.first_in(PUT, |stake| {
            *stake = match mem::replace(stake, Stake::Taken) {
                Stake::Put(item) => Stake::Placed(item),
                stake => stake,
            };
        });
        line.serve_in(PUT);
    }
}

/// An item was put.
fn count<S: Store>(line: &mut Locked<'_, Trade<S>>) {
    line.guarded().unfinished += 1;
    if line.guarded().unfinished == 1 {
        // Relaxed: whoever joins and misses it would have come before.
        line.open.join.open.0.store(false, Relaxed);
    }
}
