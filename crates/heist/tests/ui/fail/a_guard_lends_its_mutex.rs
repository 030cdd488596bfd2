//! A shared guard gives the mutex away, and with it what must not leave its thread.

fn is_sync<T: Sync>(_: &T) {}

fn main() {
    // `Sync`, and not `Send`.
    let lock = std::sync::Mutex::new(());
    let value = lock.lock().unwrap();
    let mutex = heist::sync::Mutex::new(value);
    is_sync(&mutex.try_lock().unwrap());
}
