//! The line in which futures wait for their turn, under every lock and queue of this crate, or two lines under one lock.
//!
//! A place in a line is a [`Wait`]: a part of the future that waits, pinned with it, so that waiting allocates nothing. The list
//! is intrusive and first in, first out. What it guards, and who may be served when, is the [`Primitive`]'s.
//!
//! ```text
//!   NEW ──stand in line──► WAITING ──served──► SERVED ──polled──► OVER
//!    └──nothing to wait for, or dropped──────────┴──dropped────────►
//!                              └──dropped──────────────────────────►
//! ```
//! | stage | the waiting future may | whoever holds the list's lock may |
//! |---|---|---|
//! | NEW, OVER | touch its place | not know of it |
//! | WAITING | touch its place under the lock | touch it, take it out of the line, serve it |
//! | SERVED | touch its place | not know of it |
//!
//! # Invariants
//! * INV-1: a place is in the line exactly while its stage is WAITING. Both change under the lock.
//! * INV-2: a future that is WAITING is pinned, and takes its place out of the line before its memory goes.
//! * INV-3: whoever serves has read what it needs of a place before it says SERVED, and touches it no more.
//! * INV-4: no code of the user's runs under the lock: wakers are cloned before it is taken, woken and dropped after it
//!   was released, and so are values that are left over.
//!
//! A turn is never lost: whoever is dropped after it was served, or stood in front of others, has
//! [`Primitive::on_leave`] called, which passes the turn on.
//!
//! # Orderings
//! The stage goes to SERVED with Release, and is read with Acquire without the lock: what the one who serves did before happens
//! before what the one who is served does after. Tag: `served`.

use std::marker::PhantomPinned;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, Waker};

use heist_core::error::{ExceptionKind, guarded};

use crate::sync::{Acquire, AtomicU8, Mutex, MutexGuard, Relaxed, Release, UnsafeCell, mutated};

const NEW: u8 = 0;
const WAITING: u8 = 1;
const SERVED: u8 = 2;
const OVER: u8 = 3;

/// How many are served at once.
const BATCH: usize = 32;

/// What is built on a line.
pub(crate) trait Primitive: Sized {
    /// What the lock of the line guards besides.
    type Guarded;

    /// With what a future waits, and what it has when it was served.
    type Value;

    /// Most have one line, `[Ends<Self::Value>; 1]`.
    type Lines: AsRef<[Ends<Self::Value>]> + AsMut<[Ends<Self::Value>]> + Default;

    /// A future goes away that stood in line, or that was served and has not been polled since. Passes its turn on.
    ///
    /// What is returned is [discarded](Self::discard) when the lock has been released.
    fn on_leave(line: &mut Locked<'_, Self>, left: Left<Self::Value>) -> Option<Self::Value>;

    /// Does away with what nobody wants any more.
    fn discard(_list: &WaitList<Self>, rest: Self::Value) {
        drop(rest);
    }
}

/// How a future was when it went away, and what it waited with.
pub(crate) enum Left<V> {
    Waiting(V),
    Served(V),
}

/// A line and what it is for.
pub(crate) struct WaitList<P: Primitive> {
    /// What needs no lock.
    pub(crate) open: P,
    line: Mutex<Line<P>>,
}

struct Line<P: Primitive> {
    guarded: P::Guarded,
    lines: P::Lines,
    /// How many have stood in line, ever.
    tickets: u64,
}

/// Where a line begins and ends.
pub(crate) struct Ends<V> {
    /// The one who is next, and the one who came last; both or neither.
    first: *const Place<V>,
    last: *const Place<V>,
    len: usize,
}

impl<V> Default for Ends<V> {
    fn default() -> Self {
        Self {
            first: ptr::null(),
            last: ptr::null(),
            len: 0,
        }
    }
}

// SAFETY: the pointers of its ends are to places of futures that wait, which are touched under the lock alone, by INV-1, and whose values move
// from thread to thread.
unsafe impl<P: Primitive> Send for Line<P>
where
    P::Guarded: Send,
    P::Value: Send,
{
}

/// One future's place.
struct Place<V> {
    stage: AtomicU8,
    inner: UnsafeCell<Inner<V>>,
}

struct Inner<V> {
    before: *const Place<V>,
    behind: *const Place<V>,
    ticket: u64,
    waker: Option<Waker>,
    value: Option<V>,
}

impl<V> Place<V> {
    /// # Safety
    ///
    /// The caller holds the lock and the place is WAITING, or the caller is the future that owns it and it is not.
    unsafe fn with<R>(&self, f: impl FnOnce(&mut Inner<V>) -> R) -> R {
        self.inner.with_mut(|inner| {
            // SAFETY: the table of stages gives the caller exclusive access.
            f(unsafe { &mut *inner })
        })
    }
}

impl<V> Ends<V> {
    /// # Safety
    ///
    /// The caller owns the place, which is pinned and in no line, and holds the lock.
    unsafe fn push(&mut self, place: *const Place<V>, ticket: u64, waker: Waker, value: V) {
        let last = self.last;
        // SAFETY: the caller owns it.
        let own = unsafe { &*place };
        let fill = |inner: &mut Inner<V>| {
            inner.before = last;
            inner.behind = ptr::null();
            inner.ticket = ticket;
            inner.waker = Some(waker);
            inner.value = Some(value);
        };
        // SAFETY: the caller owns it, and it is in no line.
        unsafe { own.with(fill) };
        // Relaxed: whoever finds it in the line holds the lock.
        own.stage.store(WAITING, Relaxed);
        // SAFETY: by INV-1 the last one is live and WAITING.
        unsafe { link(last, |inner| inner.behind = place) };
        if last.is_null() {
            self.first = place;
        }
        self.last = place;
        self.len += 1;
    }

    /// # Safety
    ///
    /// The place is in this line, and the caller holds the lock.
    unsafe fn take_out(&mut self, place: *const Place<V>) {
        // SAFETY: by INV-1 and INV-2 it is live.
        let own = unsafe { &*place };
        // SAFETY: by INV-1 it is WAITING, and the lock is held.
        let (before, behind) = unsafe { own.with(|inner| (inner.before, inner.behind)) };
        // SAFETY: by INV-1 its neighbours are live and WAITING.
        unsafe { link(before, |inner| inner.behind = behind) };
        // SAFETY: as above.
        unsafe { link(behind, |inner| inner.before = before) };
        if before.is_null() {
            self.first = behind;
        }
        if behind.is_null() {
            self.last = before;
        }
        self.len -= 1;
    }

    fn first(&self) -> Option<&Place<V>> {
        // SAFETY: by INV-1 and INV-2 it is live while it is in the line, which is borrowed.
        unsafe { self.first.as_ref() }
    }
}

/// Changes a neighbour, if there is one.
///
/// # Safety
///
/// The place is null, or in a line whose lock the caller holds.
unsafe fn link<V>(place: *const Place<V>, change: impl FnOnce(&mut Inner<V>)) {
    // SAFETY: by INV-1 and INV-2 a place in the line is live.
    if let Some(place) = unsafe { place.as_ref() } {
        // SAFETY: by INV-1 it is WAITING, and the lock is held.
        unsafe { place.with(change) };
    }
}

impl<P: Primitive> WaitList<P> {
    pub(crate) fn new(open: P, guarded: P::Guarded) -> Self {
        Self {
            open,
            line: Mutex::new(Line {
                guarded,
                lines: P::Lines::default(),
                tickets: 0,
            }),
        }
    }

    pub(crate) fn lock(&self) -> Locked<'_, P> {
        Locked {
            open: &self.open,
            line: self.line.lock(),
            wakers: Wakers::default(),
        }
    }

    /// Serves everybody who stands in line by now.
    pub(crate) fn serve_all<'a>(&'a self, locked: Locked<'a, P>) {
        self.serve_all_in(0, locked, |_| {});
    }

    /// The same in line `line`, and changes what each of them waits with. In batches: the lock is not held for longer than one takes.
    pub(crate) fn serve_all_in<'a>(
        &'a self,
        line: usize,
        mut locked: Locked<'a, P>,
        change: impl Fn(&mut P::Value),
    ) {
        let end = locked.line.tickets;
        loop {
            for _ in 0..BATCH {
                match locked.first_ticket(line) {
                    Some(ticket) if ticket < end => {
                        locked.first_in(line, &change);
                        locked.serve_in(line);
                    }
                    _ => return,
                }
            }
            drop(locked);
            locked = self.lock();
        }
    }

    /// A place for this line, in which nobody stands yet.
    pub(crate) fn wait(&self) -> Wait<'_, P> {
        self.wait_in(0)
    }

    /// A place for line `line`.
    pub(crate) fn wait_in(&self, line: usize) -> Wait<'_, P> {
        Wait {
            list: self,
            line,
            place: Place {
                stage: AtomicU8::new(NEW),
                inner: UnsafeCell::new(Inner {
                    before: ptr::null(),
                    behind: ptr::null(),
                    ticket: 0,
                    waker: None,
                    value: None,
                }),
            },
            _pinned: PhantomPinned,
        }
    }
}

/// The line, locked. Whoever was served is woken when this has been dropped.
pub(crate) struct Locked<'a, P: Primitive> {
    pub(crate) open: &'a P,
    line: MutexGuard<'a, Line<P>>,
    /// Declared behind the guard, and so dropped after it.
    wakers: Wakers,
}

impl<P: Primitive> Locked<'_, P> {
    pub(crate) fn guarded(&mut self) -> &mut P::Guarded {
        &mut self.line.guarded
    }

    fn ends(&self, line: usize) -> &Ends<P::Value> {
        &self.line.lines.as_ref()[line]
    }

    fn ends_mut(&mut self, line: usize) -> &mut Ends<P::Value> {
        &mut self.line.lines.as_mut()[line]
    }

    /// How many stand in line.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting_in(0)
    }

    /// How many stand in line `line`.
    pub(crate) fn waiting_in(&self, line: usize) -> usize {
        self.ends(line).len
    }

    /// Looks at what the first one waits with, and may change it.
    pub(crate) fn first<R>(&mut self, look: impl FnOnce(&mut P::Value) -> R) -> Option<R> {
        self.first_in(0, look)
    }

    /// The same in line `line`.
    pub(crate) fn first_in<R>(
        &mut self,
        line: usize,
        look: impl FnOnce(&mut P::Value) -> R,
    ) -> Option<R> {
        let first = self.ends(line).first()?;
        // SAFETY: by INV-1 it is WAITING, and `self` holds the lock.
        unsafe { first.with(|inner| inner.value.as_mut().map(look)) }
    }

    /// The number of the first one: they grow.
    fn first_ticket(&self, line: usize) -> Option<u64> {
        let first = self.ends(line).first()?;
        // SAFETY: by INV-1 it is WAITING, and `self` holds the lock.
        Some(unsafe { first.with(|inner| inner.ticket) })
    }

    /// Gives the first one its turn, with the value that it waits with by now. `false`: there is nobody.
    pub(crate) fn serve(&mut self) -> bool {
        self.serve_in(0)
    }

    /// The same in line `line`.
    pub(crate) fn serve_in(&mut self, line: usize) -> bool {
        let first = self.ends(line).first;
        // SAFETY: by INV-1 and INV-2 it is live.
        let Some(place) = (unsafe { first.as_ref() }) else {
            return false;
        };
        // SAFETY: it is in this line.
        unsafe { self.ends_mut(line).take_out(first) };
        // SAFETY: it is WAITING still, and `self` holds the lock.
        let waker = unsafe { place.with(|inner| inner.waker.take()) };
        self.wakers.add(waker);
        let order = if mutated("served-relaxed") {
            Relaxed
        } else {
            Release
        };
        // ORDERING(served): gives the future what this thread did, and its place. By INV-3 nobody touches that from here on.
        place.stage.store(SERVED, order);
        true
    }
}

/// A future's place in the line of a primitive, and its turn.
pub(crate) struct Wait<'a, P: Primitive> {
    pub(crate) list: &'a WaitList<P>,
    line: usize,
    place: Place<P::Value>,
    /// Others point to the place while it is WAITING.
    _pinned: PhantomPinned,
}

// SAFETY: the place is shared with other threads by the rules of this module, and its value goes to one of them.
unsafe impl<P: Primitive + Sync> Send for Wait<'_, P>
where
    P::Guarded: Send,
    P::Value: Send,
{
}
// SAFETY: nothing can be done with a shared reference.
unsafe impl<P: Primitive + Sync> Sync for Wait<'_, P>
where
    P::Guarded: Send,
    P::Value: Send,
{
}

impl<P: Primitive> Wait<'_, P> {
    /// Whether the future has stood in line, or has been served.
    pub(crate) fn is_new(&self) -> bool {
        // Only its own future takes it out of this stage.
        self.place.stage.load(Relaxed) == NEW
    }

    /// There was nothing to wait for: whoever polls once more is told so.
    pub(crate) fn end(&self) {
        debug_assert!(self.is_new());
        // Relaxed: no other thread knows of this place.
        self.place.stage.store(OVER, Relaxed);
    }

    /// Waits for a turn, and gives the value that whoever served has left.
    ///
    /// `begin` is called once, under the lock: it breaks off if there is nothing to wait for, or stands in line with a value.
    ///
    /// # Panics
    ///
    /// When it is polled after it was ready.
    pub(crate) fn poll<B>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        begin: impl FnOnce(&mut Locked<'_, P>) -> ControlFlow<B, P::Value>,
    ) -> Poll<ControlFlow<B, P::Value>> {
        // ORDERING(served): takes what the one who served gave.
        match self.place.stage.load(Acquire) {
            NEW => self.stand_in_line(cx, begin),
            WAITING => self.poll_waiting(cx).map(ControlFlow::Continue),
            SERVED => Poll::Ready(ControlFlow::Continue(self.turn())),
            _ => panic!("a future that is over was polled again"),
        }
    }

    fn stand_in_line<B>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        begin: impl FnOnce(&mut Locked<'_, P>) -> ControlFlow<B, P::Value>,
    ) -> Poll<ControlFlow<B, P::Value>> {
        let mut waker = Some(cx.waker().clone());
        let mut locked = self.list.lock();
        match begin(&mut locked) {
            ControlFlow::Break(result) => {
                drop(locked);
                self.end();
                Poll::Ready(ControlFlow::Break(result))
            }
            ControlFlow::Continue(value) => {
                if let Some(waker) = waker.take() {
                    let ticket = locked.line.tickets;
                    locked.line.tickets += 1;
                    // SAFETY: it is this future's own, in no line before, and pinned.
                    unsafe {
                        locked.ends_mut(self.line).push(
                            &raw const self.place,
                            ticket,
                            waker,
                            value,
                        );
                    }
                }
                Poll::Pending
            }
        }
    }

    fn poll_waiting(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<P::Value> {
        let mut fresh = None;
        loop {
            let locked = self.list.lock();
            // Relaxed: it was stored under the lock.
            if self.place.stage.load(Relaxed) == SERVED {
                drop(locked);
                return Poll::Ready(self.turn());
            }
            let update = |inner: &mut Inner<P::Value>| match (&inner.waker, &mut fresh) {
                (Some(waker), _) if waker.will_wake(cx.waker()) => true,
                (_, Some(_)) => {
                    // The old one is dropped in its place when the lock has been released.
                    std::mem::swap(&mut inner.waker, &mut fresh);
                    true
                }
                _ => false,
            };
            // SAFETY: it is WAITING, and the lock is held.
            let updated = unsafe { self.place.with(update) };
            drop(locked);
            if updated {
                return Poll::Pending;
            }
            fresh = Some(cx.waker().clone());
        }
    }

    /// Takes what it was served.
    fn turn(&self) -> P::Value {
        // Relaxed: nobody else looks at a place that is in no line.
        self.place.stage.store(OVER, Relaxed);
        // SAFETY: it was SERVED, so by INV-3 it is this future's alone.
        let value = unsafe { self.place.with(|inner| inner.value.take()) };
        match value {
            Some(value) => value,
            None => unreachable!("whoever stands in line has a value"),
        }
    }

    /// Gives the turn up: the future goes away.
    fn give_up(&self) {
        // Relaxed: only its own future takes it out of the first, and into the last stage.
        if matches!(self.place.stage.load(Relaxed), NEW | OVER) {
            return;
        }
        let mut locked = self.list.lock();
        // Relaxed: it was stored under the lock.
        let waits = self.place.stage.load(Relaxed) == WAITING;
        if waits {
            // SAFETY: by INV-1 it is in this line.
            unsafe { locked.ends_mut(self.line).take_out(&raw const self.place) };
        }
        // SAFETY: it is in no line any more, by INV-1 if it was served.
        let (waker, value) = unsafe {
            self.place
                .with(|inner| (inner.waker.take(), inner.value.take()))
        };
        // Relaxed: as above.
        self.place.stage.store(OVER, Relaxed);
        let rest = value.and_then(|value| {
            let left = if waits {
                Left::Waiting(value)
            } else {
                Left::Served(value)
            };
            P::on_leave(&mut locked, left)
        });
        drop(locked);
        drop(waker);
        if let Some(rest) = rest {
            P::discard(self.list, rest);
        }
    }
}

impl<P: Primitive> Drop for Wait<'_, P> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Who is woken when the lock has been released: mostly one.
#[derive(Default)]
struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakers {
    fn add(&mut self, waker: Option<Waker>) {
        if self.first.is_none() {
            self.first = waker;
        } else {
            self.more.extend(waker);
        }
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        for waker in self.first.take().into_iter().chain(self.more.drain(..)) {
            guarded(ExceptionKind::Waker, None, || waker.wake());
        }
    }
}
