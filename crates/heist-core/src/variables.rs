//! Values that code sees because of who called it: of the task alone, or inherited by what it spawns.
//!
//! Who sets a value keeps it, and lends it for as long as the code runs that shall see it: a list through stack frames, innermost first,
//! whose head is in the thread's frame. Nothing is counted or copied when a task goes from thread to thread; what is inherited is shared
//! when something is spawned.
//!
//! ```text
//! FRAME.variables ──► Node { request: 7 } ──► Node { user: "eve" } ──► null        of one task
//! ```
//!
//! # Invariants
//! * INV-1: a node is on the list as long as `Node::during` runs, whose frame it lies in, and what it lends outlives that.
//! * INV-2: a node is seen by the task that it was made in. Whoever polls a second task on the same stack does not show it its own.
//!
//! # Dropped
//! A counted map per task, copied at each spawn: a counter per poll and spawn, and values would have to be `Sync`.

use std::any::Any;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use crate::context::FRAME;

/// A value that tasks inherit.
pub type Value = Arc<dyn Any + Send + Sync>;

/// Which variable: the address of something that lives for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(*const ());

// SAFETY: it is compared, and nothing is done through it.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

impl Key {
    /// That of this variable.
    pub fn of<T>(variable: &'static T) -> Self {
        Self(ptr::from_ref(variable).cast())
    }
}

/// Values that are set while some code runs.
enum Lent<'a> {
    /// One that stays in its task.
    Own(Key, &'a dyn Any),
    /// Those that what is spawned inherits.
    Inherited(&'a [(Key, Value)]),
    /// None, but what is seen in this task is seen.
    Through(*const ()),
}

pub(crate) struct Node<'a> {
    lent: Lent<'a>,
    /// The header of the task that sees it, null outside of tasks.
    task: *const (),
    outer: *const Node<'static>,
}

impl<'a> Node<'a> {
    fn during<R>(lent: Lent<'a>, f: impl FnOnce() -> R) -> R {
        FRAME.with(|frame| {
            let node = Node {
                lent,
                task: frame.task.get(),
                outer: frame.variables.get(),
            };
            let _restore = Restore(node.outer);
            // Of another lifetime until it is restored, when this returns or unwinds (INV-1).
            frame.variables.set(ptr::from_ref(&node).cast());
            f()
        })
    }
}

/// Sets the head of the list when it is dropped.
pub(crate) struct Restore(*const Node<'static>);

impl Drop for Restore {
    fn drop(&mut self) {
        FRAME.with(|frame| frame.variables.set(self.0));
    }
}

/// Nothing is seen until the guard is dropped: whoever serves on a stack runs the code of others.
pub(crate) fn hidden() -> Restore {
    FRAME.with(|frame| Restore(frame.variables.replace(ptr::null())))
}

/// Gives the visible nodes to `f`, innermost first, until it is satisfied.
fn find<R>(mut f: impl FnMut(&Lent<'_>) -> Option<R>) -> Option<R> {
    let (mut node, mut task) = FRAME.with(|frame| (frame.variables.get(), frame.task.get()));
    // SAFETY: all nodes of this thread's list are in frames that have not returned (INV-1).
    while let Some(current) = unsafe { node.as_ref() } {
        if current.task != task {
            return None;
        }
        if let Lent::Through(outer) = current.lent {
            task = outer;
        } else if let Some(found) = f(&current.lent) {
            return Some(found);
        }
        node = current.outer;
    }
    None
}

/// Calls `f`, which sees `value` of the variable `key`.
pub fn with_own<R>(key: Key, value: &dyn Any, f: impl FnOnce() -> R) -> R {
    Node::during(Lent::Own(key, value), f)
}

/// Calls `f`, which sees `values`, and what it spawns sees them too.
pub fn with_inherited<R>(values: &[(Key, Value)], f: impl FnOnce() -> R) -> R {
    Node::during(Lent::Inherited(values), f)
}

/// Gives the value of `key` to `f`.
pub fn look<R>(key: Key, f: impl FnOnce(Option<&dyn Any>) -> R) -> R {
    let mut f = Some(f);
    let found = find(|lent| {
        let value: &dyn Any = match lent {
            Lent::Own(of, value) if *of == key => *value,
            Lent::Inherited(values) => &*values.iter().find(|(of, _)| *of == key)?.1,
            _ => return None,
        };
        f.take().map(|f| f(Some(value)))
    });
    match (found, f) {
        (Some(found), _) => found,
        (None, Some(f)) => f(None),
        (None, None) => unreachable!("whoever was called has returned something"),
    }
}

/// Whether anything may be set here.
#[inline]
pub fn any() -> bool {
    FRAME.with(|frame| !frame.variables.get().is_null())
}

/// What a task inherits.
#[derive(Clone)]
pub struct Inherited(Arc<[(Key, Value)]>);

impl Inherited {
    /// What is seen here, if anything is.
    #[inline]
    pub fn here() -> Option<Self> {
        any().then(Self::collect).flatten()
    }

    #[cold]
    fn collect() -> Option<Self> {
        let mut all: Vec<(Key, Value)> = Vec::new();
        find(|lent| -> Option<()> {
            if let Lent::Inherited(values) = lent {
                for (key, value) in *values {
                    // An inner one hides it.
                    if !all.iter().any(|(of, _)| of == key) {
                        all.push((*key, Arc::clone(value)));
                    }
                }
            }
            None
        });
        (!all.is_empty()).then(|| Self(all.into()))
    }

    /// Calls `f`, which sees it.
    pub fn during<R>(&self, f: impl FnOnce() -> R) -> R {
        with_inherited(&self.0, f)
    }
}

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inherited")
            .field("values", &self.0.len())
            .finish()
    }
}

/// `f`, which sees what is seen here although it runs outside of the task.
pub fn through<R>(f: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let task = FRAME.with(|frame| frame.task.get());
    move || Node::during(Lent::Through(task), f)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use super::*;

    static ONE: u8 = 1;
    static TWO: u8 = 2;

    fn number(key: Key) -> Option<i32> {
        look(key, |value| {
            value.and_then(|value| value.downcast_ref().copied())
        })
    }

    #[test]
    fn values_are_seen_innermost_first_and_go_with_their_frames() {
        let (one, two) = (Key::of(&ONE), Key::of(&TWO));
        with_own(one, &1, || {
            with_inherited(&[(two, Arc::new(2)), (one, Arc::new(3))], || {
                assert_eq!((number(one), number(two)), (Some(3), Some(2)));
                with_own(two, &4, || assert_eq!(number(two), Some(4)));
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    with_own(two, &5, || resume_unwind(Box::new(())))
                }));
                assert!(unwound.is_err());
                assert_eq!(number(two), Some(2));
                assert_eq!(through(|| number(two))(), Some(2));
            });
            assert_eq!((number(one), number(two)), (Some(1), None));
        });
        assert!(!any());
    }

    #[test]
    fn what_is_inherited_is_what_hides_the_rest_and_no_value_of_ones_own() {
        let (one, two) = (Key::of(&ONE), Key::of(&TWO));
        assert!(Inherited::here().is_none());
        with_own(one, &1, || assert!(Inherited::here().is_none()));
        let inherited = with_inherited(&[(one, Arc::new(1))], || {
            with_inherited(&[(one, Arc::new(2)), (two, Arc::new(3))], || {
                with_own(two, &4, Inherited::here)
            })
        });
        let inherited = inherited.expect("two variables are set");
        assert_eq!(format!("{inherited:?}"), "Inherited { values: 2 }");
        let seen = std::thread::spawn(move || inherited.during(|| (number(one), number(two))));
        assert_eq!(seen.join().expect("it only looks"), (Some(2), Some(3)));
    }

    #[test]
    fn a_value_of_ones_own_may_be_changed_through_a_cell() {
        let key = Key::of(&ONE);
        let cell = Cell::new(1);
        with_own(key, &cell, || {
            look(key, |value| {
                let seen: Option<&Cell<i32>> = value.and_then(|value| value.downcast_ref());
                seen.expect("it is set").set(2);
            });
        });
        assert_eq!(cell.get(), 2);
    }
}
