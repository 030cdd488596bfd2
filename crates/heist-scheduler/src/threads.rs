//! The threads of one runtime: their names, hooks and ends; and how somebody waits for an end.
//!
//! A thread is listed before it starts and struck off after everything else that it does, the destructors of its
//! thread-locals included, so that shutdown can say which ones are left. Nothing here is joined unless it has said that
//! it is done.

use std::io;
use std::time::Instant;

use heist_core::error::{ExceptionContext, ExceptionKind, drop_quietly, during, panic_message};
use heist_core::platform::{Parker, Platform};

use crate::config::{Config, ExceptionHandler};
use crate::sync::{Arc, Mutex, ThreadId, caught, join, keep_until_exit, thread};

/// The list.
#[derive(Debug)]
pub(crate) struct Threads {
    members: Mutex<Members>,
    /// Signalled whenever a thread has ended, a worker has found the closed runtime empty, and the like.
    pub(crate) gate: Gate,
}

#[derive(Debug, Default)]
struct Members {
    started: u64,
    list: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    number: u64,
    name: String,
    id: Option<ThreadId>,
    handle: Option<thread::JoinHandle<()>>,
    /// Inside of a hook or of a destructor of a thread-local: how long that takes is up to the user.
    hooked: bool,
    ended: bool,
}

impl Threads {
    pub(crate) fn new() -> Self {
        Self {
            members: Mutex::new(Members::default()),
            gate: Gate::new(),
        }
    }

    /// Starts a thread that runs `body` between the hooks.
    pub(crate) fn start(
        self: &Arc<Self>,
        config: &Config,
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.start_with(Hooks::of(config), config, name, body)
    }

    /// The same without the hooks, for a thread that polls nothing.
    pub(crate) fn start_bare(
        self: &Arc<Self>,
        config: &Config,
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.start_with(Hooks::none(), config, name, body)
    }

    fn start_with(
        self: &Arc<Self>,
        hooks: Hooks,
        config: &Config,
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        // Not joined: their thread-locals are the user's, and may wait for whoever starts a thread.
        drop(self.take_ended());
        let number = self.enlist(name.clone());
        let mut builder = thread::Builder::new().name(name.clone());
        if let Some(size) = config.thread_stack_size {
            builder = builder.stack_size(size);
        }
        let end = End {
            threads: Arc::clone(self),
            number,
        };
        let started = builder.spawn(move || {
            let (threads, number) = (Arc::clone(&end.threads), end.number);
            let _end = keep_until_exit(Box::new(end));
            threads.change(number, |member| {
                member.id = Some(thread::current().id());
                member.hooked = true;
            });
            hooks.start();
            threads.change(number, |member| member.hooked = false);
            // A worker does not unwind; if it ever does, its end is noticed all the same.
            let ran = caught(body);
            threads.change(number, |member| member.hooked = true);
            hooks.stop();
            if let Err(payload) = ran {
                std::panic::resume_unwind(payload);
            }
        });
        match started {
            Ok(handle) => {
                self.change(number, |member| member.handle = Some(handle));
                Ok(())
            }
            Err(error) => Err(during(format!("cannot start thread {name:?}"), error)),
        }
    }

    fn enlist(&self, name: String) -> u64 {
        let mut members = self.members.lock();
        let number = members.started;
        members.started += 1;
        members.list.push(Member {
            number,
            name,
            id: None,
            handle: None,
            hooked: false,
            ended: false,
        });
        number
    }

    fn change(&self, number: u64, f: impl FnOnce(&mut Member)) {
        let mut members = self.members.lock();
        if let Some(member) = members.list.iter_mut().find(|m| m.number == number) {
            f(member);
        }
    }

    /// Joins those that have said that they are done.
    pub(crate) fn join_ended(&self) {
        self.take_ended().into_iter().for_each(join);
    }

    /// Strikes off those that have said that they are done.
    fn take_ended(&self) -> Vec<thread::JoinHandle<()>> {
        let mut members = self.members.lock();
        let me = thread::current().id();
        let done = |m: &Member| m.ended && m.id != Some(me);
        let handles = members
            .list
            .iter_mut()
            .filter(|m| done(m))
            .filter_map(|m| m.handle.take())
            .collect();
        members.list.retain(|m| !done(m));
        handles
    }

    /// The names of those that are not done.
    pub(crate) fn names(&self) -> Vec<String> {
        let members = self.members.lock();
        let running = members.list.iter().filter(|m| !m.ended);
        running.map(|m| m.name.clone()).collect()
    }

    /// How many are not done.
    pub(crate) fn running(&self) -> usize {
        self.members.lock().list.iter().filter(|m| !m.ended).count()
    }

    /// How many of these are inside of a hook, or on their way out.
    pub(crate) fn hooked(&self) -> usize {
        let members = self.members.lock();
        let hooked = members.list.iter().filter(|m| m.hooked && !m.ended);
        hooked.count()
    }

    /// Whether the caller is one of them.
    pub(crate) fn is_one(&self) -> bool {
        let me = Some(thread::current().id());
        self.members.lock().list.iter().any(|m| m.id == me)
    }
}

/// Strikes a thread off, even if it unwinds or never came up.
struct End {
    threads: Arc<Threads>,
    number: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        self.threads
            .change(self.number, |member| member.ended = true);
        self.threads.gate.signal();
    }
}

/// What the user wants to run on each thread.
struct Hooks {
    on_start: Option<crate::config::ThreadHook>,
    on_stop: Option<crate::config::ThreadHook>,
    handler: Option<ExceptionHandler>,
}

impl Hooks {
    fn none() -> Self {
        Self {
            on_start: None,
            on_stop: None,
            handler: None,
        }
    }

    fn of(config: &Config) -> Self {
        Self {
            on_start: config.on_thread_start.clone(),
            on_stop: config.on_thread_stop.clone(),
            handler: config.exception_handler.clone(),
        }
    }

    fn start(&self) {
        self.run(self.on_start.as_ref(), "on_thread_start");
    }

    fn stop(&self) {
        self.run(self.on_stop.as_ref(), "on_thread_stop");
    }

    fn run(&self, hook: Option<&crate::config::ThreadHook>, which: &str) {
        if let Some(hook) = hook {
            call_hook(self.handler.as_ref(), which, || hook());
        }
    }
}

/// Calls a hook of the user's, and tells `handler` if it panics.
pub(crate) fn call_hook(handler: Option<&ExceptionHandler>, which: &str, hook: impl FnOnce()) {
    if let Err(payload) = caught(hook) {
        let message = format!("{which} panicked: {}", panic_message(&*payload));
        let exception =
            ExceptionContext::new(ExceptionKind::Hook, &message).with_payload(&*payload);
        report(handler, &exception);
        drop_quietly(payload);
    }
}

/// Tells the handler, or standard error if there is none. Never unwinds.
pub(crate) fn report(handler: Option<&ExceptionHandler>, exception: &ExceptionContext<'_>) {
    let Some(handler) = handler else {
        return exception.print();
    };
    if let Err(payload) = caught(|| handler(exception)) {
        let message = panic_message(&*payload);
        ExceptionContext::new(
            ExceptionKind::Hook,
            &format!("the exception handler panicked: {message}"),
        )
        .with_payload(&*payload)
        .print();
        exception.print();
        drop_quietly(payload);
    }
}

/// Where threads wait for something that is looked up elsewhere.
///
/// Whoever changes what is waited for calls [`signal`](Gate::signal) afterwards. Its lock is taken by both sides
/// after the change and before the look, so that either the waiter sees the change or it is unparked.
#[derive(Debug)]
pub(crate) struct Gate {
    waiting: Mutex<Vec<Arc<dyn Parker>>>,
}

impl Gate {
    fn new() -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn signal(&self) {
        let waiting = self.waiting.lock().clone();
        for parker in waiting {
            parker.unpark();
        }
    }

    /// Waits until `reached`, at most until `deadline`. Returns whether it was reached.
    pub(crate) fn wait(
        &self,
        platform: &dyn Platform,
        deadline: Option<Instant>,
        mut reached: impl FnMut() -> bool,
    ) -> bool {
        if reached() {
            return true;
        }
        let parker = platform.parker();
        self.waiting.lock().push(Arc::clone(&parker));
        let outcome = loop {
            if reached() {
                break true;
            }
            if deadline.is_some_and(|at| platform.now() >= at) {
                break false;
            }
            parker.park(deadline);
        };
        self.waiting
            .lock()
            .retain(|other| !Arc::ptr_eq(other, &parker));
        outcome
    }
}
