//! `async-lock`, `async-channel`, `async-broadcast` and `event-listener`. What they have none of is made of what they have.

use std::convert::Infallible;
use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_lock::{Mutex, Semaphore};
use event_listener::Event;
use futures_channel::oneshot;
use futures_lite::FutureExt;

use super::Kit;
use crate::backend::Backend;

/// What users of smol take.
#[derive(Debug)]
pub struct SmolKit(Infallible);

/// Both ends of a channel.
pub type Channel = (Sender<u64>, Receiver<u64>);

/// An event, and whether it has happened.
#[derive(Debug, Default)]
pub struct Flag {
    happened: AtomicU64,
    event: Event,
}

impl Flag {
    async fn next(&self, taken: impl Fn(u64) -> bool) -> u64 {
        loop {
            let now = self.happened.load(Ordering::SeqCst);
            if taken(now) {
                return now;
            }
            let listener = self.event.listen();
            let now = self.happened.load(Ordering::SeqCst);
            if taken(now) {
                return now;
            }
            listener.await;
        }
    }
}

impl Kit for SmolKit {
    type Mutex = Mutex<u64>;
    type Semaphore = Semaphore;
    type Notify = Flag;
    type Sender = Sender<u64>;
    type Receiver = Receiver<u64>;
    type OnceSender = oneshot::Sender<u64>;
    type OnceReceiver = oneshot::Receiver<u64>;
    type Caster = Lock<async_broadcast::Sender<u64>>;
    type Listener = async_broadcast::Receiver<u64>;
    type Setter = Arc<Flag>;
    type Watcher = (Arc<Flag>, u64);
    type Queue = Channel;

    fn mutex() -> Mutex<u64> {
        Mutex::new(0)
    }

    async fn add(mutex: &Mutex<u64>, hold: impl Future<Output = ()> + Send) -> u64 {
        let mut count = mutex.lock().await;
        hold.await;
        *count += 1;
        *count
    }

    fn semaphore(permits: usize) -> Semaphore {
        Semaphore::new(permits)
    }

    async fn with_permit(semaphore: &Semaphore, hold: impl Future<Output = ()> + Send) {
        let _permit = semaphore.acquire().await;
        hold.await;
    }

    fn notify() -> Flag {
        Flag::default()
    }

    fn notify_one(notify: &Flag) {
        notify.happened.store(1, Ordering::SeqCst);
        notify.event.notify(1);
    }

    async fn notified(notify: &Flag) {
        notify
            .next(|_| notify.happened.swap(0, Ordering::SeqCst) == 1)
            .await;
    }

    fn channel(room: usize) -> Channel {
        async_channel::bounded(room)
    }

    async fn send(sender: &Sender<u64>, value: u64) {
        sender.send(value).await.expect("somebody receives");
    }

    async fn recv(receiver: &mut Receiver<u64>) -> Option<u64> {
        receiver.recv().await.ok()
    }

    fn once() -> (Self::OnceSender, Self::OnceReceiver) {
        oneshot::channel()
    }

    fn send_once(sender: Self::OnceSender, value: u64) {
        sender.send(value).expect("somebody receives");
    }

    async fn recv_once(receiver: Self::OnceReceiver) -> u64 {
        receiver.await.expect("somebody sends")
    }

    fn broadcast(room: usize, receivers: usize) -> (Self::Caster, Vec<Self::Listener>) {
        let (mut caster, first) = async_broadcast::broadcast(room);
        caster.set_overflow(true);
        let more: Vec<_> = (1..receivers).map(|_| caster.new_receiver()).collect();
        let listeners = std::iter::once(first).chain(more).collect();
        (Lock::new(caster), listeners)
    }

    fn cast(caster: &Self::Caster, value: u64) {
        let caster = caster.lock().expect("nothing panics under this lock");
        caster.try_broadcast(value).expect("somebody receives");
    }

    async fn hear(listener: &mut Self::Listener) -> u64 {
        listener.recv().await.expect("none is lost")
    }

    fn watch() -> (Self::Setter, Self::Watcher) {
        let flag = Arc::new(Flag::default());
        (Arc::clone(&flag), (flag, 0))
    }

    fn set(setter: &Self::Setter, value: u64) {
        setter.happened.store(value, Ordering::SeqCst);
        setter.event.notify(usize::MAX);
    }

    async fn changed((flag, seen): &mut Self::Watcher) -> u64 {
        let before = *seen;
        *seen = flag.next(|now| now != before).await;
        *seen
    }

    fn queue(room: usize) -> Channel {
        async_channel::bounded(room)
    }

    async fn put(queue: &Channel, value: u64) {
        queue.0.send(value).await.expect("it is open");
    }

    async fn get(queue: &Channel) -> Option<u64> {
        queue.1.recv().await.ok()
    }

    fn close(queue: &Channel) {
        queue.0.close();
    }

    async fn group<B: Backend>(backend: B, n: u64) {
        let tasks: Vec<_> = (0..n).map(|_| backend.spawn(async {})).collect();
        for task in tasks {
            task.await;
        }
    }

    async fn timeout_ready() {
        let late = async {
            async_io::Timer::after(Duration::from_secs(60)).await;
        };
        ready(()).or(late).await;
    }
}
