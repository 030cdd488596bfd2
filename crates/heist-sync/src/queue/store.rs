//! In which order items come out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What a queue keeps its items in, and so in which order they come out.
pub trait Store: Default {
    /// What is kept.
    type Item;
    /// Whether what was pushed earlier always comes first.
    const KEEPS_ORDER: bool = false;
    /// Adds an item.
    fn push(&mut self, item: Self::Item);
    /// Takes the next one.
    fn pop(&mut self) -> Option<Self::Item>;
    /// Takes back one that was given to somebody when there was no other: what is kept now was pushed later.
    fn unpop(&mut self, item: Self::Item) {
        self.push(item);
    }
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The first in is the first out.
#[derive(Debug)]
pub struct Fifo<T>(VecDeque<T>);

/// The last in is the first out.
#[derive(Debug)]
pub struct Lifo<T>(Vec<T>);

/// The least is the first out. Items that are equal come in no particular order.
///
/// They are compared under the queue's lock: a comparison that uses the queue waits for itself.
#[derive(Debug)]
pub struct Priority<T: Ord>(BinaryHeap<Reverse<T>>);

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Store for Fifo<T> {
    type Item = T;
    const KEEPS_ORDER: bool = true;

    fn push(&mut self, item: T) {
        self.0.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn unpop(&mut self, item: T) {
        self.0.push_front(item);
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> Default for Lifo<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Store for Lifo<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.0.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn unpop(&mut self, item: T) {
        self.0.insert(0, item);
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T: Ord> Default for Priority<T> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<T: Ord> Store for Priority<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.0.push(Reverse(item));
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop().map(|Reverse(item)| item)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
