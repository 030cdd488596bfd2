//! In which order items come out.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

/// What a queue keeps its items in, and so in which order they come out.
pub trait Store: Default + sealed::Keep {}

#[expect(unnameable_types, reason = "so that nobody else can keep items")]
pub(crate) mod sealed {
    /// An item, and how many were put before it.
    #[derive(Debug)]
    pub struct Numbered<T> {
        pub(crate) number: u64,
        pub(crate) item: T,
    }

    /// What a [`Store`](super::Store) does, for the queue alone.
    pub trait Keep {
        /// What is kept.
        type Item;
        /// Whether what was put earlier always comes first.
        const KEEPS_ORDER: bool = false;
        /// Adds an item. Its number is the greatest so far, unless it comes back from somebody who was given it.
        fn push(&mut self, item: Numbered<Self::Item>);
        /// Takes the next one.
        fn pop(&mut self) -> Option<Numbered<Self::Item>>;
        /// How many there are.
        fn len(&self) -> usize;
        /// Whether there is none.
        fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }
}

use sealed::{Keep, Numbered};

/// The first in is the first out.
#[derive(Debug)]
pub struct Fifo<T>(VecDeque<Numbered<T>>);

/// The last in is the first out.
#[derive(Debug)]
pub struct Lifo<T>(VecDeque<Numbered<T>>);

/// The least is the first out, and of those that are equal the one that was put first.
///
/// They are compared under the queue's lock: a comparison that uses the queue waits for itself, and one that panics may lose an item.
#[derive(Debug)]
pub struct Priority<T: Ord>(BinaryHeap<Reverse<Ranked<T>>>);

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Store for Fifo<T> {}

impl<T> Keep for Fifo<T> {
    type Item = T;
    const KEEPS_ORDER: bool = true;

    fn push(&mut self, item: Numbered<T>) {
        push_in_order(&mut self.0, item);
    }

    fn pop(&mut self) -> Option<Numbered<T>> {
        self.0.pop_front()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> Default for Lifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Store for Lifo<T> {}

impl<T> Keep for Lifo<T> {
    type Item = T;

    fn push(&mut self, item: Numbered<T>) {
        push_in_order(&mut self.0, item);
    }

    fn pop(&mut self) -> Option<Numbered<T>> {
        self.0.pop_back()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Puts an item behind those that were put before it: at the end, unless it comes back.
fn push_in_order<T>(items: &mut VecDeque<Numbered<T>>, item: Numbered<T>) {
    match items.back() {
        Some(last) if last.number > item.number => {
            let place = items.partition_point(|kept| kept.number < item.number);
            items.insert(place, item);
        }
        _ => items.push_back(item),
    }
}

impl<T: Ord> Default for Priority<T> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<T: Ord> Store for Priority<T> {}

impl<T: Ord> Keep for Priority<T> {
    type Item = T;

    fn push(&mut self, item: Numbered<T>) {
        self.0.push(Reverse(Ranked(item)));
    }

    fn pop(&mut self) -> Option<Numbered<T>> {
        self.0.pop().map(|Reverse(Ranked(item))| item)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// An item by its rank: its own order, then that of putting.
#[derive(Debug)]
struct Ranked<T>(Numbered<T>);

impl<T: Ord> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        let own = self.0.item.cmp(&other.0.item);
        own.then(self.0.number.cmp(&other.0.number))
    }
}

impl<T: Ord> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Ranked<T> {}
