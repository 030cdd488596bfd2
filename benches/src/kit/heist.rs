//! `heist::sync`.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use heist::sync::{Mutex, Notify, Queue, Semaphore, broadcast, mpsc, oneshot, watch};
use heist::task::TaskGroup;

use super::Kit;
use crate::backend::Backend;

/// What users of heist take.
#[derive(Debug)]
pub struct HeistKit(Infallible);

impl Kit for HeistKit {
    type Mutex = Mutex<u64>;
    type Semaphore = Semaphore;
    type Notify = Notify;
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type OnceSender = oneshot::Sender<u64>;
    type OnceReceiver = oneshot::Receiver<u64>;
    type Caster = broadcast::Sender<u64>;
    type Listener = broadcast::Receiver<u64>;
    type Setter = watch::Sender<u64>;
    type Watcher = watch::Receiver<u64>;
    type Queue = Arc<Queue<u64>>;

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

    fn notify() -> Notify {
        Notify::new()
    }

    fn notify_one(notify: &Notify) {
        notify.notify_one();
    }

    async fn notified(notify: &Notify) {
        notify.notified().await;
    }

    fn channel(room: usize) -> (Self::Sender, Self::Receiver) {
        mpsc::channel(room)
    }

    async fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).await.expect("somebody receives");
    }

    async fn recv(receiver: &mut Self::Receiver) -> Option<u64> {
        receiver.recv().await
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
        let (caster, first) = broadcast::channel(room);
        let more = (1..receivers).map(|_| caster.subscribe());
        let listeners = std::iter::once(first).chain(more).collect();
        (caster, listeners)
    }

    fn cast(caster: &Self::Caster, value: u64) {
        caster.send(value).expect("somebody receives");
    }

    async fn hear(listener: &mut Self::Listener) -> u64 {
        listener.recv().await.expect("none is lost")
    }

    fn watch() -> (Self::Setter, Self::Watcher) {
        watch::channel(0)
    }

    fn set(setter: &Self::Setter, value: u64) {
        setter.send(value).expect("somebody receives");
    }

    async fn changed(watcher: &mut Self::Watcher) -> u64 {
        watcher.changed().await.expect("somebody sends");
        *watcher.get()
    }

    fn queue(room: usize) -> Self::Queue {
        Arc::new(Queue::bounded(room))
    }

    async fn put(queue: &Self::Queue, value: u64) {
        queue.put(value).await.expect("it is open");
    }

    async fn get(queue: &Self::Queue) -> Option<u64> {
        queue.get().await.ok()
    }

    fn close(queue: &Self::Queue) {
        queue.close();
    }

    async fn group<B: Backend>(_backend: B, n: u64) {
        let run = TaskGroup::run(async |group| {
            let children: Result<Vec<_>, _> = (0..n).map(|_| group.spawn(async {})).collect();
            for child in children? {
                child.await?;
            }
            Ok(())
        });
        run.await.expect("nobody fails");
    }

    async fn timeout_ready() {
        let limited = heist::time::timeout(Duration::from_secs(60), ready(()));
        limited.await.expect("it is ready");
    }
}
