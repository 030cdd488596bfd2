//! The queues and channels, as those see them who put and get.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use heist::sync::mpsc::{Receiver, Sender};
use heist::sync::{Closed, OrderedQueue, Store, TryGetError, TryPutError};

use super::item::Item;

type Wait<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(super) trait Puts: Send + Sync {
    /// The item is the queue's at once.
    fn put(&self, item: Item) -> Wait<'_, Result<(), Closed<Item>>>;
    fn put_blocking(&self, item: Item) -> Result<(), Closed<Item>>;
    fn try_put(&self, item: Item) -> Result<(), TryPutError<Item>>;
}

pub(super) trait Gets: Send + Sync {
    fn get(&self) -> Wait<'_, Result<Item, Closed>>;
    fn get_blocking(&self) -> Result<Item, Closed>;
    /// `None`: not now.
    fn try_get(&self) -> Option<Result<Item, Closed>>;
}

/// A queue with all that it can do.
pub(super) trait Whole: Puts + Gets + fmt::Debug {
    fn puts(&self) -> &dyn Puts;
    fn gets(&self) -> &dyn Gets;
    fn join(&self) -> Wait<'_, ()>;
    fn join_blocking(&self);
    /// Whether there was one that is not done.
    fn task_done(&self) -> bool;
    fn close(&self);
    fn close_now(&self);
    fn drain(&self) -> Vec<Item>;
    /// Whether all of these may have come out in this order.
    fn is_in_order(&self, items: &[Item]) -> bool;
}

impl<S> Puts for OrderedQueue<S>
where
    S: Store<Item = Item> + Send,
{
    fn put(&self, item: Item) -> Wait<'_, Result<(), Closed<Item>>> {
        Box::pin(self.put(item))
    }

    fn put_blocking(&self, item: Item) -> Result<(), Closed<Item>> {
        self.put_blocking(item)
    }

    fn try_put(&self, item: Item) -> Result<(), TryPutError<Item>> {
        self.try_put(item)
    }
}

impl<S> Gets for OrderedQueue<S>
where
    S: Store<Item = Item> + Send,
{
    fn get(&self) -> Wait<'_, Result<Item, Closed>> {
        Box::pin(self.get())
    }

    fn get_blocking(&self) -> Result<Item, Closed> {
        self.get_blocking()
    }

    fn try_get(&self) -> Option<Result<Item, Closed>> {
        now(self.try_get())
    }
}

impl<S> Whole for OrderedQueue<S>
where
    S: Store<Item = Item> + Send,
{
    fn puts(&self) -> &dyn Puts {
        self
    }

    fn gets(&self) -> &dyn Gets {
        self
    }

    fn join(&self) -> Wait<'_, ()> {
        Box::pin(self.join())
    }

    fn join_blocking(&self) {
        self.join_blocking();
    }

    fn task_done(&self) -> bool {
        self.task_done().is_ok()
    }

    fn close(&self) {
        self.close();
    }

    fn close_now(&self) {
        self.close_now();
    }

    fn drain(&self) -> Vec<Item> {
        self.drain(usize::MAX)
    }

    fn is_in_order(&self, items: &[Item]) -> bool {
        let later = |earlier: &Item, later: &Item| earlier.by != later.by || earlier < later;
        let all = |at: usize| items[at + 1..].iter().all(|item| later(&items[at], item));
        !S::KEEPS_ORDER || (0..items.len()).all(all)
    }
}

impl Puts for Sender<Item> {
    fn put(&self, item: Item) -> Wait<'_, Result<(), Closed<Item>>> {
        Box::pin(self.send(item))
    }

    fn put_blocking(&self, item: Item) -> Result<(), Closed<Item>> {
        self.send_blocking(item)
    }

    fn try_put(&self, item: Item) -> Result<(), TryPutError<Item>> {
        self.try_send(item)
    }
}

/// There is a receiver as long as somebody uses it.
impl Gets for heist::sync::Mutex<Option<Receiver<Item>>> {
    fn get(&self) -> Wait<'_, Result<Item, Closed>> {
        Box::pin(async {
            match &mut *self.lock().await {
                Some(receiver) => receiver.recv().await.ok_or(Closed(())),
                None => Err(Closed(())),
            }
        })
    }

    fn get_blocking(&self) -> Result<Item, Closed> {
        let mut receiver = self.lock_blocking();
        let received = receiver.as_mut().and_then(Receiver::recv_blocking);
        received.ok_or(Closed(()))
    }

    fn try_get(&self) -> Option<Result<Item, Closed>> {
        let mut receiver = self.try_lock().ok()?;
        now(receiver.as_mut()?.try_recv())
    }
}

fn now(got: Result<Item, TryGetError>) -> Option<Result<Item, Closed>> {
    match got {
        Ok(item) => Some(Ok(item)),
        Err(TryGetError::Closed) => Some(Err(Closed(()))),
        Err(TryGetError::Empty) => None,
    }
}
