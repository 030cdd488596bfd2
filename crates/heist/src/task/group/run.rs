//! One run of a group: its body, then its children, then what comes of it.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use super::state::Shared;
use super::{BoxError, ChildError, GroupError};
use crate::shim::{caught, mutated};
use crate::task::{Cancelled, catch_cancel, current};

/// One run of a group. If it is dropped, nobody waits for the children: they are cancelled.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    /// The task that runs the group was asked to end.
    external: Option<Cancelled>,
    panic: Option<Box<dyn Any + Send>>,
}

impl Run {
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
            external: None,
            panic: None,
        }
    }

    /// Runs the body until it is over, or all shall end. It is gone then.
    pub(super) async fn body<T, F>(&mut self, begin: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let mut body = match caught(begin) {
            Ok(body) => Some(Box::pin(body)),
            Err(payload) => {
                self.panic = Some(payload);
                self.shared.abort(self.shared.state.lock(), None);
                return None;
            }
        };
        let outcome = match &mut body {
            Some(body) => catch_cancel(poll_body(&self.shared, body.as_mut())).await,
            None => unreachable!("it was begun just now"),
        };
        // Its destructors may panic as it may itself.
        let dropped = caught(|| body = None).err();
        let mut failed = None;
        match outcome {
            Ok(Some(Ok(Ok(value)))) if dropped.is_none() => return Some(value),
            Ok(Some(Ok(Ok(_)))) => {}
            Ok(Some(Ok(Err(error)))) => failed = Some(error),
            Ok(Some(Err(payload))) => self.panic = Some(payload),
            Ok(None) => {}
            Err(cancelled) => self.external = Some(cancelled),
        }
        self.panic = self.panic.take().or(dropped);
        let mut state = self.shared.state.lock();
        let mut unwanted = None;
        if let Some(error) = failed {
            // It may pass on that the group is being cancelled.
            let error = ChildError::of_body(error);
            let ending = state.cuts_body && (error.is_closed() || error.is_cancelled());
            if ending {
                unwanted = Some(error);
            } else {
                state.errors.push(error);
            }
        }
        self.shared.abort(state, None);
        drop(unwanted);
        None
    }

    /// Waits until no child is left.
    pub(super) async fn children(&mut self) {
        while !self.shared.close() {
            if let Err(cancelled) = catch_cancel(self.shared.changed.notified()).await {
                self.external = Some(cancelled);
                self.shared.abort(self.shared.state.lock(), None);
                if mutated("group-unwaited") {
                    return;
                }
            }
        }
    }

    pub(super) async fn finish<T>(mut self, value: Option<T>) -> Result<T, GroupError> {
        if let Some(payload) = self.panic.take() {
            std::panic::resume_unwind(payload);
        }
        let errors = self.shared.errors();
        match self.external.take() {
            Some(cancelled) if errors.is_empty() => return cancelled.resume().await,
            // The errors come first, and the request once more: at the next await.
            Some(cancelled) => {
                let task = current();
                task.uncancel();
                match cancelled.reason() {
                    Some(reason) => task.cancel_with(reason.to_owned()),
                    None => task.cancel(),
                };
            }
            None => {}
        }
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(GroupError::new(errors)),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.shared.abort(self.shared.state.lock(), None);
        // One may have the group, and the group has it.
        drop(self.shared.errors());
    }
}

/// What the body gives or panics with; `None`: it shall end.
async fn poll_body<F: Future>(
    shared: &Shared,
    mut body: Pin<&mut F>,
) -> Option<std::thread::Result<F::Output>> {
    let mut aborted = pin!(shared.aborted());
    poll_fn(|cx| match caught(|| body.as_mut().poll(cx)) {
        Ok(Poll::Ready(output)) => Poll::Ready(Some(Ok(output))),
        Err(payload) => Poll::Ready(Some(Err(payload))),
        Ok(Poll::Pending) => aborted.as_mut().poll(cx).map(|()| None),
    })
    .await
}
