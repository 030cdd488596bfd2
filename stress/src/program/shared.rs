//! Steps of several tasks that have something in common: what they wait for, or a group.
//!
//! An *arena* is something to wait for, and its parties: tasks and threads whose bodies use it. A *circle* is a group, and its
//! members. `Use` and `Member` mean the innermost one around them. While somebody has a lock, or an item, its steps wait
//! for nobody: all who wait for it go on in the end, or something is wrong.

use super::Act;

/// What the parties of an arena have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Common {
    Mutex,
    RwLock,
    Semaphore {
        permits: u8,
    },
    Once,
    Condvar,
    Queue {
        line: Line,
        room: Room,
        /// Whether somebody is told of items that are not delivered.
        hook: bool,
    },
    Notify,
    Event,
    Barrier {
        parties: u8,
    },
    Broadcast {
        keeps: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Fifo,
    Lifo,
    Priority,
    /// One receiver, and closed by the end that goes.
    Channel,
}

/// How many items wait at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Whoever puts waits for whoever gets. Of those that keep an order.
    None,
    Bounded(u8),
    Unbounded,
}

/// Something to wait for. Its first body has the parties, the second one is run by the step itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arena {
    pub(crate) common: Common,
    /// Whether the step waits until its parties are over.
    pub(crate) wait: bool,
}

/// One of those who use an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) who: Who,
    /// Whether it gives what others take.
    pub(crate) gives: bool,
    pub(crate) act: Option<Act>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A task of this runtime.
    Task(u8),
    /// A thread that belongs to no runtime, in the context of this one.
    Thread(u8),
}

/// Uses the arena around it once, or for so many items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) how: How,
    pub(crate) amount: u8,
    pub(crate) what: Deed,
}

/// What is done with a queue. All others have the first only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// To put or to get, to lock, to notify or to wait.
    Move,
    /// Waits until all items are done.
    Join,
    Close,
    CloseNow,
}

/// In which way somebody waits, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Await,
    /// For what may outlive the borrow, where there is such a thing.
    Owned,
    /// For so many microseconds.
    Timeout(u32),
    /// For so many polls.
    Polls(u8),
    /// Twice at once; the one that is late is dropped.
    Race,
    Try,
    Blocking,
}

/// A group, and what becomes of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Circle {
    pub(crate) policy: Policy,
    pub(crate) limit: Option<u8>,
    pub(crate) end: CircleEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    FailFast,
    Supervise,
    FirstSuccess,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CircleEnd {
    Return,
    Fail,
    /// With the last error that a member has given to the body, if there is one.
    PassOn,
    Panic,
}

/// A child of the circle around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) way: Way,
    pub(crate) fails: bool,
    /// Does not end until it is cancelled.
    pub(crate) idles: bool,
    pub(crate) then: After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Spawn,
    /// When there is a place.
    Wait,
    /// Until it says that it is ready, if it does.
    Start {
        ready: bool,
    },
    Blocking,
}

/// What is done with the handle of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Drop,
    Await,
    Cancel { wait: bool },
    Abort,
}
