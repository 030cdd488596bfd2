//! Async locks and queues of the heist runtime.
