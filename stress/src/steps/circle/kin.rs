//! What a child of a group runs.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use heist::task::Ready;
use heist::task::try_current;

use super::family::{Family, Fault};
use crate::oracle::Record;
use crate::program::{Member, Way};
use crate::run::caught;
use crate::watched::{Boxed, Held, Output, Watched};

/// The future of a child.
pub(super) struct Kin {
    life: Life,
    watched: Option<Watched>,
    ready: Option<Ready<()>>,
}

/// A child, from its first poll on.
struct Life {
    family: Arc<Family>,
    record: Arc<Record>,
    begun: bool,
    fails: bool,
    /// Whether its end is one that the group looks at.
    counts: bool,
}

impl Life {
    fn new(family: &Arc<Family>, record: &Arc<Record>, member: Member) -> Self {
        Self {
            family: Arc::clone(family),
            record: Arc::clone(record),
            begun: false,
            fails: member.fails,
            counts: member.way != Way::Start { ready: false },
        }
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            if let Some(task) = try_current() {
                self.record.note(task, false);
            }
            self.family.on_begin();
        }
    }

    /// What it gives, or panics with.
    fn end(&self, output: std::thread::Result<Output>) -> Result<Output, Fault> {
        let failed = self.fails || output.is_err();
        if self.counts {
            self.family.on_end(&self.record, failed);
        }
        match output {
            Ok(_) if failed => Err(Fault),
            Ok(output) => Ok(output),
            Err(payload) => resume_unwind(payload),
        }
    }

    /// What it had is gone.
    fn on_gone(&self) {
        if self.begun {
            self.family.on_gone();
        }
    }
}

impl Kin {
    pub(super) fn new(
        family: &Arc<Family>,
        record: &Arc<Record>,
        body: Boxed,
        member: Member,
    ) -> Self {
        let watched = Watched::new(&family.world, record, body, false, false);
        Self {
            life: Life::new(family, record, member),
            watched: Some(watched),
            ready: None,
        }
    }

    /// Says that it is ready when it is first polled. `None`: never.
    pub(super) fn with_ready(mut self, ready: Option<Ready<()>>) -> Self {
        self.ready = ready;
        self
    }
}

impl Future for Kin {
    type Output = Result<Output, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.life.begin();
        this.life.family.check_open(&this.life.record);
        if let Some(ready) = this.ready.take() {
            ready.set(());
        }
        let polled = catch_unwind(AssertUnwindSafe(|| match &mut this.watched {
            Some(watched) => Pin::new(watched).poll(cx),
            None => Poll::Pending,
        }));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(this.life.end(Ok(output))),
            Err(payload) => Poll::Ready(this.life.end(Err(payload))),
        }
    }
}

impl Drop for Kin {
    fn drop(&mut self) {
        if !self.life.begun {
            // The group did not take it, or it was cancelled before it began.
            self.life.record.ask();
        }
        self.watched = None;
        self.life.on_gone();
    }
}

/// The closure of a child that blocks.
pub(super) struct Job {
    life: Life,
    held: Option<Held>,
}

impl Job {
    pub(super) fn new(family: &Arc<Family>, record: &Arc<Record>, member: Member) -> Self {
        Self {
            life: Life::new(family, record, member),
            held: Some(Held::new(&family.world, record, false)),
        }
    }

    pub(super) fn run(mut self, body: impl FnOnce()) -> Result<Output, Fault> {
        self.life.begin();
        let (record, world) = (&self.life.record, &self.life.family.world);
        record.on_call(world);
        caught(body);
        record.on_return();
        let output = Output::new(world, record.number(), false);
        self.life.end(Ok(output))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.life.begun {
            self.life.record.ask();
        }
        self.held = None;
        self.life.on_gone();
    }
}
