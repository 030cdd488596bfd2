//! The locks and channels that users of each runtime take, behind one trait.

mod heist;
mod smol;
mod tokio;

use crate::backend::Backend;

pub use self::heist::HeistKit;
pub use self::smol::{Channel, Flag, SmolKit};
pub use self::tokio::TokioKit;

/// What a family of crates has for tasks that meet. All values are numbers.
pub trait Kit: 'static {
    /// A lock around a count.
    type Mutex: Send + Sync + 'static;
    /// Permits.
    type Semaphore: Send + Sync + 'static;
    /// Wakes one task.
    type Notify: Send + Sync + 'static;
    /// The sending end of a channel with one receiver.
    type Sender: Clone + Send + Sync + 'static;
    /// Its other end.
    type Receiver: Send + 'static;
    /// The sending end of a channel for one value.
    type OnceSender: Send + 'static;
    /// Its other end.
    type OnceReceiver: Send + 'static;
    /// Sends to all.
    type Caster: Send + Sync + 'static;
    /// Receives what is sent to all.
    type Listener: Send + 'static;
    /// Replaces a value.
    type Setter: Send + Sync + 'static;
    /// Sees the last value.
    type Watcher: Send + 'static;
    /// A queue for many on both sides.
    type Queue: Send + Sync + 'static;

    /// One around 0.
    fn mutex() -> Self::Mutex;
    /// Locks, waits for `hold`, and counts one.
    fn add(
        mutex: &Self::Mutex,
        hold: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = u64> + Send;

    /// One with so many permits.
    fn semaphore(permits: usize) -> Self::Semaphore;
    /// Waits for `hold` with a permit.
    fn with_permit(
        semaphore: &Self::Semaphore,
        hold: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = ()> + Send;

    /// One without a notification.
    fn notify() -> Self::Notify;
    /// Wakes one, now or later.
    fn notify_one(notify: &Self::Notify);
    /// Waits for that.
    fn notified(notify: &Self::Notify) -> impl Future<Output = ()> + Send;

    /// With room for so many.
    fn channel(room: usize) -> (Self::Sender, Self::Receiver);
    /// Sends as soon as there is room.
    fn send(sender: &Self::Sender, value: u64) -> impl Future<Output = ()> + Send;
    /// The next one, unless nobody sends any more.
    fn recv(receiver: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send;

    /// For one value.
    fn once() -> (Self::OnceSender, Self::OnceReceiver);
    /// Sends it.
    fn send_once(sender: Self::OnceSender, value: u64);
    /// Waits for it.
    fn recv_once(receiver: Self::OnceReceiver) -> impl Future<Output = u64> + Send;

    /// With so many who receive.
    fn broadcast(room: usize, receivers: usize) -> (Self::Caster, Vec<Self::Listener>);
    /// Sends to all.
    fn cast(caster: &Self::Caster, value: u64);
    /// The next one.
    fn hear(listener: &mut Self::Listener) -> impl Future<Output = u64> + Send;

    /// With the value 0.
    fn watch() -> (Self::Setter, Self::Watcher);
    /// Replaces the value.
    fn set(setter: &Self::Setter, value: u64);
    /// The next value that is new.
    fn changed(watcher: &mut Self::Watcher) -> impl Future<Output = u64> + Send;

    /// With room for so many.
    fn queue(room: usize) -> Self::Queue;
    /// Puts as soon as there is room.
    fn put(queue: &Self::Queue, value: u64) -> impl Future<Output = ()> + Send;
    /// The next one, unless it is closed and empty.
    fn get(queue: &Self::Queue) -> impl Future<Output = Option<u64>> + Send;
    /// Nothing can be put any more.
    fn close(queue: &Self::Queue);

    /// Spawns `n` tasks that do nothing as a group, and waits for all.
    fn group<B: Backend>(backend: B, n: u64) -> impl Future<Output = ()> + Send;

    /// A limit of a minute around a future that is ready.
    fn timeout_ready() -> impl Future<Output = ()> + Send;
}
