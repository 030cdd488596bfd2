//! Which runtime, worker and task this thread is in: the only thread-local of the kernel.
//!
//! Everything below the facade works from explicit handles; what stands here only saves typing. It is in two parts. The
//! *frame* is plain cells, read on every wake: the scheduler whose worker loop runs on this thread, and the task that
//! is being polled. Only [`worker_frame`](crate::schedule::worker_frame) and a poll set it, both restore it when they
//! end, also by a panic. The *entered* runtimes are a stack of counted handles, since their guards are the user's:
//! they get forgotten, dropped out of order and held over an await.
//!
//! An entry that was made inside a poll ends with that poll at the latest.

use crate::driver::Driver;
use crate::error::{ExceptionContext, drop_quietly};
use crate::platform::Platform;
use crate::sync::{Arc, DESTRUCTORS_MAY_WORK, Mutex, Weak, per_thread, process_wide};
use crate::task::InnerRoot;
use crate::task::block::Cache;
use crate::variables::Node;
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::OnceLock;
use std::task::{Context, Waker};
use std::time::Instant;

/// A piece of work for [`RuntimeContext::call`].
pub type Job = Box<dyn FnOnce() + Send>;

/// What leaf futures and late callbacks need of the runtime they run in.
pub trait RuntimeContext: Any + fmt::Debug + Send + Sync {
    /// The reactor and the timers.
    fn driver(&self) -> &Arc<dyn Driver>;

    /// Clock, parkers and randomness.
    fn platform(&self) -> &Arc<dyn Platform>;

    /// When the runtime was started, on that clock.
    fn started(&self) -> Instant;

    /// Runs `job` soon, as a small task of its own.
    ///
    /// # Errors
    ///
    /// Gives the job back if the runtime takes no more work.
    fn call(&self, job: Job) -> Result<(), Job>;

    /// Runs `job` on a thread that may block. A runtime that ends before that drops it.
    ///
    /// # Errors
    ///
    /// Gives the job back if the runtime takes no more work.
    fn call_blocking(&self, job: Job) -> Result<(), Job>;

    /// Tells the exception handler. Never unwinds.
    fn report(&self, exception: &ExceptionContext<'_>);

    /// For the crate that implements it, to find its own type again.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// The plain half of the context.
pub(crate) struct Frame {
    /// The scheduler whose worker loop runs here, and what it offers to its own methods; both or neither.
    pub(crate) scheduler: Cell<*const ()>,
    pub(crate) local: Cell<*const ()>,
    /// The frame's own counted reference of the scheduler, the type of that, and the name of the frame's entry in the
    /// stack of entered runtimes.
    pub(crate) counted: Cell<*const ()>,
    pub(crate) kind: Cell<Option<TypeId>>,
    pub(crate) entry: Cell<u64>,
    /// Free blocks for cells, of a worker's frame.
    pub(crate) cache: Cell<*const Cache>,
    pub(crate) shard: Cell<usize>,
    /// The header of the task that is being polled.
    pub(crate) task: Cell<*const ()>,
    /// The header of the task in whose poll this frame was begun, if it was begun in one.
    pub(crate) suspended: Cell<*const ()>,
    /// The innermost root that is run inside of a poll, on this thread.
    pub(crate) inner_root: Cell<*const InnerRoot>,
    /// The innermost `catch_cancel` whose body is being polled, 0 for none.
    pub(crate) catcher: Cell<u64>,
    /// To whom a `resume` in this poll passed the request: a catcher, or the task itself as `Some(0)`.
    pub(crate) resumed: Cell<Option<u64>>,
    pub(crate) budget: Cell<u8>,
    /// The values that are set for the code that runs, the innermost first.
    pub(crate) variables: Cell<*const Node<'static>>,
    /// The rest of this thread's block of ids.
    pub(crate) ids: Cell<(u64, u64)>,
    /// The name of the innermost runtime on that stack, 0 for none, and that of its next entry. They grow.
    pub(crate) innermost: Cell<u64>,
    pub(crate) next_entry: Cell<u64>,
}

impl Frame {
    const fn new() -> Self {
        Self {
            scheduler: Cell::new(std::ptr::null()),
            local: Cell::new(std::ptr::null()),
            counted: Cell::new(std::ptr::null()),
            kind: Cell::new(None),
            entry: Cell::new(0),
            cache: Cell::new(std::ptr::null()),
            shard: Cell::new(0),
            task: Cell::new(std::ptr::null()),
            suspended: Cell::new(std::ptr::null()),
            inner_root: Cell::new(std::ptr::null()),
            catcher: Cell::new(0),
            resumed: Cell::new(None),
            budget: Cell::new(crate::sync::BUDGET),
            variables: Cell::new(std::ptr::null()),
            ids: Cell::new((0, 0)),
            innermost: Cell::new(0),
            next_entry: Cell::new(1),
        }
    }
}

per_thread! {
    pub(crate) static FRAME: Frame = Frame::new();
}

/// Names and runtimes, the innermost last.
type Entered = RefCell<Vec<(u64, Arc<dyn RuntimeContext>)>>;

per_thread! {
    // Not destroyed with the thread: destructors of other thread-locals may enter a runtime after that. `END` empties it.
    static ENTERED: ManuallyDrop<Entered> = ManuallyDrop::new(RefCell::new(Vec::new()));
}

per_thread! {
    static END: End = End;
}

/// Lets go of the runtimes that are still entered when the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        if DESTRUCTORS_MAY_WORK {
            truncate(0);
        }
    }
}

/// Gives the memory of the empty stack back, on a thread that is past its `END`.
fn release_at_the_end() {
    if END.try_with(|_| ()).is_err() {
        let _ = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            if entered.is_empty() {
                *entered = Vec::new();
            }
        });
    }
}

/// Index of the worker slot that this thread serves, 0 on any other thread: the shard of its timers.
pub fn shard() -> usize {
    FRAME.with(|frame| frame.shard.get())
}

/// Gives the innermost runtime that this thread is in to `f`, without counting it.
///
/// `f` must not enter or leave a runtime.
pub fn with_current<R>(f: impl FnOnce(Option<&Arc<dyn RuntimeContext>>) -> R) -> R {
    let mut f = Some(f);
    let found = ENTERED.try_with(|entered| {
        let entered = entered.borrow();
        f.take()
            .map(|f| f(entered.last().map(|(_, runtime)| runtime)))
    });
    match (found, f) {
        (Ok(Some(result)), _) => result,
        (_, Some(f)) => f(None),
        (_, None) => unreachable!("the closure was called and its result lost"),
    }
}

/// The innermost runtime that this thread is in: of its worker loop, or entered.
pub fn try_current() -> Option<Arc<dyn RuntimeContext>> {
    with_current(|runtime| runtime.cloned())
}

/// [`try_current`], else the process-wide runtime.
///
/// # Errors
///
/// There is none, or it cannot be started.
pub fn current_or_global() -> io::Result<Arc<dyn RuntimeContext>> {
    if let Some(runtime) = try_current() {
        return Ok(runtime);
    }
    let global = GLOBAL.get().and_then(|provider| provider());
    global.unwrap_or_else(|| Err(no_runtime()))
}

/// The error of what needs a runtime and finds none.
#[cold]
pub fn no_runtime() -> io::Error {
    io::Error::other(
        "there is no heist runtime here; do this in a task, or inside of `Handle::enter`",
    )
}

/// Gives the process-wide runtime, started by that if need be. `None`: there is no such thing.
pub type GlobalProvider = fn() -> Option<io::Result<Arc<dyn RuntimeContext>>>;

static GLOBAL: OnceLock<GlobalProvider> = OnceLock::new();

/// Says where the process-wide runtime comes from. The first call counts.
pub fn set_global_provider(provider: GlobalProvider) {
    let _ = GLOBAL.set(provider);
}

/// Blocks the thread until a closure, which is called with a context and again after each wake of it, says that it is done.
pub type BlockOn = fn(&mut dyn FnMut(&mut Context<'_>) -> bool);

static BLOCK_ON: OnceLock<BlockOn> = OnceLock::new();

/// Says how a thread waits for a task. The first call counts.
pub fn set_block_on(block_on: BlockOn) {
    let _ = BLOCK_ON.set(block_on);
}

/// Waits as [`set_block_on`] has said; the facade does when the program is loaded. Without it there is no runtime, and seldom
/// anything to wait for.
pub fn block_on(poll: &mut dyn FnMut(&mut Context<'_>) -> bool) {
    match BLOCK_ON.get() {
        Some(block_on) => block_on(poll),
        None => {
            while !poll(&mut Context::from_waker(Waker::noop())) {
                crate::sync::spin();
            }
        }
    }
}

/// Makes `runtime` the current one of this thread until the guard is dropped.
///
/// Inside a task the guard's effect ends with the poll that made it, even if the guard is kept over an await; inside a
/// done-callback it ends with that.
pub fn enter(runtime: Arc<dyn RuntimeContext>) -> EnterGuard {
    EnterGuard {
        id: push(runtime),
        not_send: PhantomData,
    }
}

fn push(runtime: Arc<dyn RuntimeContext>) -> u64 {
    let _ = END.try_with(|_| ());
    let id = FRAME.with(|frame| frame.next_entry.replace(frame.next_entry.get() + 1));
    let _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        entered.push((id, runtime));
        FRAME.with(|frame| frame.innermost.set(id));
    });
    id
}

/// Forgets the entry with this name and all that are newer.
#[cold]
pub(crate) fn truncate(oldest: u64) {
    let left = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        // By name: older ones may have been left meanwhile.
        let at = entered.partition_point(|(id, _)| *id < oldest);
        let left = entered.split_off(at);
        note_innermost(&entered);
        left
    });
    // Dropping a runtime is not a thing to do under a borrow; and it may be the user's to panic.
    drop_quietly(left);
    release_at_the_end();
}

fn note_innermost(entered: &[(u64, Arc<dyn RuntimeContext>)]) {
    let innermost = entered.last().map_or(0, |(id, _)| *id);
    FRAME.with(|frame| frame.innermost.set(innermost));
}

/// Leaves what has been entered since, when it is dropped: guards may have been forgotten.
pub(crate) struct Leave(u64);

impl Leave {
    pub(crate) fn what_is_entered_from_now_on() -> Self {
        Self(FRAME.with(|frame| frame.next_entry.get()))
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if FRAME.with(|frame| frame.innermost.get()) >= self.0 {
            truncate(self.0);
        }
    }
}

/// Runs `f` with `runtime` entered, for the worker loop.
pub(crate) fn entered<R>(runtime: Arc<dyn RuntimeContext>, f: impl FnOnce() -> R) -> R {
    let _leave = Leave::what_is_entered_from_now_on();
    let entry = push(runtime);
    FRAME.with(|frame| frame.entry.set(entry));
    f()
}

/// Keeps a runtime current on this thread. Made by [`enter`].
#[derive(Debug)]
#[must_use = "the runtime is left when the guard is dropped"]
pub struct EnterGuard {
    id: u64,
    not_send: PhantomData<*const ()>,
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        let left = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let at = entered.iter().rposition(|(id, _)| *id == self.id)?;
            let left = entered.remove(at);
            note_innermost(&entered);
            Some(left)
        });
        drop_quietly(left);
        release_at_the_end();
    }
}

/// Names a runtime without counting it: a place in the table of runtimes, and which use of that place.
///
/// Six bytes in every task, by which a handle that outlives its runtime finds it, or finds that it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeKey {
    pub(crate) index: u16,
    pub(crate) generation: u32,
}

impl RuntimeKey {
    /// The key of no runtime.
    pub(crate) const NONE: Self = Self {
        index: u16::MAX,
        generation: 0,
    };

    /// The runtime, if it is still there.
    pub(crate) fn upgrade(self) -> Option<Arc<dyn RuntimeContext>> {
        let table = RUNTIMES.lock();
        let place = table.get(usize::from(self.index))?;
        if place.generation == self.generation {
            place.runtime.as_ref()?.upgrade()
        } else {
            None
        }
    }

    /// Enters `runtime` into the table. `None` if 65535 runtimes live at once.
    pub(crate) fn register(runtime: Weak<dyn RuntimeContext>) -> Option<Self> {
        let mut table = RUNTIMES.lock();
        let free = table.iter().position(|place| place.runtime.is_none());
        let index = free.unwrap_or(table.len());
        if index >= usize::from(u16::MAX) {
            return None;
        }
        if free.is_none() {
            table.push(Place {
                generation: 0,
                runtime: None,
            });
        }
        let place = &mut table[index];
        place.generation = place.generation.wrapping_add(1);
        place.runtime = Some(runtime);
        Some(Self {
            index: u16::try_from(index).ok()?,
            generation: place.generation,
        })
    }

    /// Takes the runtime out of the table.
    pub(crate) fn deregister(self) {
        if let Some(place) = RUNTIMES.lock().get_mut(usize::from(self.index)) {
            place.runtime = None;
        }
    }
}

#[derive(Debug)]
struct Place {
    generation: u32,
    runtime: Option<Weak<dyn RuntimeContext>>,
}

process_wide! {
    static RUNTIMES: Mutex<Vec<Place>> = Mutex::new(Vec::new());
}
