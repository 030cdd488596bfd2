//! What each step of a program does.

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use heist::runtime::CallHandle;
use heist::task::{CallbackId, catch_cancel, try_current, yield_now};
use heist::time::{interval, sleep, timeout};
use heist::{Deferred, Handle, Promise, Task, TaskError, TaskRef, promise};

use crate::guard::Guard;
use crate::oracle::{
    Callback, Expected, Habits, Kind, Outcome, Place, Record, Registered, World, add_callback,
    lock, panic_as_asked, stamp,
};
use crate::program::{Act, Body, By, CatchEnd, Op, Spawn, Step, Then, Timer, Wait, What, catches};
use crate::run::{caught, micros};
use crate::streams;
use crate::watched::{Boxed, Held, Output, Watched};

/// Where steps run.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) world: Arc<World>,
    /// The task whose body this is.
    owner: Option<Arc<Record>>,
    /// On an executor that is not heist's: nobody can cancel what waits here.
    foreign: bool,
    /// On the thread of a local runtime.
    local: Option<Arc<Place>>,
}

impl Scene {
    pub(crate) fn outside(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            owner: None,
            foreign: false,
            local: None,
        }
    }

    pub(crate) fn foreign(self) -> Self {
        Self {
            foreign: true,
            ..self
        }
    }

    pub(crate) fn local(self, place: &Arc<Place>) -> Self {
        Self {
            local: Some(Arc::clone(place)),
            ..self
        }
    }

    fn of(&self, record: &Arc<Record>) -> Self {
        Self {
            owner: Some(Arc::clone(record)),
            ..Self::outside(&self.world)
        }
    }
}

/// Runs a body.
pub(crate) fn run(scene: Scene, body: Body) -> Boxed {
    Box::pin(async move {
        // Tasks whose handles are dropped when the body is over.
        let mut kept = Vec::new();
        for step in body.iter() {
            scene.world.step();
            one(&scene, step, &mut kept).await;
        }
    })
}

async fn one(scene: &Scene, step: &Step, kept: &mut Vec<Task<Output>>) {
    match step.op {
        Op::Yield(count) => yields(count).await,
        Op::Spin(time) => {
            let until = Instant::now() + micros(time);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        Op::Block(time) => thread::sleep(micros(time)),
        Op::Sleep { time, how } => do_sleep(scene, micros(time), how).await,
        Op::Timeout(time) => do_timeout(scene, micros(time), step).await,
        Op::Interval { time, ticks } => do_interval(scene, micros(time), ticks).await,
        Op::Spawn(spec) => do_spawn(scene, step, spec, kept).await,
        Op::SpawnLocal {
            act,
            callbacks,
            wait,
        } => do_spawn_local(scene, step, act, callbacks, wait).await,
        Op::Blocking {
            on,
            callbacks,
            cancel,
            then,
        } => {
            let task = do_blocking(scene, step, on, callbacks, cancel);
            finish(scene, task, then, kept).await;
        }
        Op::BlockOn { on } => {
            let place = scene.world.place(on);
            let body = Arc::clone(&step.bodies[0]);
            let inner = Scene::outside(&scene.world);
            caught(|| place.handle().block_on(run(inner, body)));
        }
        Op::Call { .. } => do_calls(scene, step),
        Op::Promise {
            on,
            by,
            keep,
            callbacks,
            then,
        } => do_promise(scene, step, on, by, keep, callbacks, then).await,
        Op::Storm { tasks, threads } => storm(scene, tasks, threads).await,
        Op::Stream { kind, bytes } if !scene.foreign => {
            streams::exchange(&scene.world, kind, bytes).await;
        }
        Op::Catch { end } => do_catch(scene, step, end).await,
        Op::CancelSelf => end_myself(scene, false).await,
        Op::AbortSelf => end_myself(scene, true).await,
        Op::Pending if !scene.foreign => std::future::pending().await,
        Op::Panic => resume_unwind(Box::new(Expected)),
        Op::Runtime { grace } => nested_runtime(scene, step, micros(grace)).await,
        Op::Stream { .. } | Op::Pending => yield_now().await,
    }
}

pub(crate) async fn yields(count: u8) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Polls once.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

async fn do_sleep(scene: &Scene, time: Duration, how: Timer) {
    let begun = Instant::now();
    let mut nap = Box::pin(sleep(time));
    match how {
        Timer::Unpolled => return,
        Timer::FirstPoll if poll_once(&mut nap).await.is_pending() => return,
        Timer::FirstPoll => {}
        Timer::Await => nap.await,
    }
    if begun.elapsed() < time {
        let late = begun.elapsed();
        scene
            .world
            .fail(&format!("a sleep of {time:?} took {late:?}"));
    }
}

async fn do_timeout(scene: &Scene, limit: Duration, step: &Step) {
    let begun = Instant::now();
    let body = run(scene.clone(), Arc::clone(&step.bodies[0]));
    if timeout(limit, body).await.is_err() && begun.elapsed() < limit {
        let late = begun.elapsed();
        scene
            .world
            .fail(&format!("a limit of {limit:?} was over after {late:?}"));
    }
}

async fn do_interval(scene: &Scene, period: Duration, ticks: u8) {
    let begun = Instant::now();
    let mut interval = interval(period);
    for tick in 0..ticks {
        interval.tick().await;
        let (late, due) = (begun.elapsed(), period * tick.into());
        if late < due {
            scene
                .world
                .fail(&format!("tick {tick} of {period:?} came after {late:?}"));
        }
    }
}

/// A task that was started, with what is known about it.
struct Started {
    task: Task<Output>,
    record: Arc<Record>,
}

async fn do_spawn(scene: &Scene, step: &Step, spec: Spawn, kept: &mut Vec<Task<Output>>) {
    let world = &scene.world;
    let place = world.place(spec.on);
    let uncancels = |act: &Act| act.what == What::CancelAndUncancel;
    let may_go_on = catches(&step.bodies[0]) || spec.acts.iter().flatten().any(uncancels);
    let record = world.record(step.number, &place, Kind::Task, may_go_on, spec.drop_panics);
    let body = run(scene.of(&record), Arc::clone(&step.bodies[0]));
    let output_panics =
        spec.output_panics && matches!(spec.then, Then::Detach | Then::Keep | Then::PollOnce);
    let watched = Watched::new(world, &record, body, spec.drop_panics, output_panics);
    let task = place.handle().spawn(watched);
    record.note(task.task_ref(), spec.watched);
    register_on_task(world, &record, spec.callbacks, &task);
    for act in spec.acts.into_iter().flatten() {
        perform(scene, &record, task.task_ref(), act).await;
    }
    finish(scene, Started { task, record }, spec.then, kept).await;
}

fn do_blocking(scene: &Scene, step: &Step, on: u8, callbacks: u8, cancel: bool) -> Started {
    let world = &scene.world;
    let place = world.place(on);
    let record = world.record(step.number, &place, Kind::Blocking, true, false);
    let held = Held::new(world, &record, false);
    let (inner, body) = (Scene::outside(world), Arc::clone(&step.bodies[0]));
    let handle = place.handle().clone();
    let task = place.handle().spawn_blocking(move || {
        let Held { world, record, .. } = &held;
        record.on_call(world);
        caught(|| handle.block_on(run(inner, body)));
        record.on_return();
        Output::new(world, record.number(), false)
    });
    record.note(task.task_ref(), callbacks.is_multiple_of(2));
    register_on_task(world, &record, callbacks, &task);
    if cancel {
        record.ask();
        task.cancel();
    }
    Started { task, record }
}

/// What is done with a task that was started.
async fn finish(scene: &Scene, started: Started, then: Then, kept: &mut Vec<Task<Output>>) {
    let Started { mut task, record } = started;
    let world = Arc::clone(&scene.world);
    let late = task.task_ref();
    match then {
        Then::Await => wait(&world, &record, task).await,
        Then::Detach => task.detach(),
        Then::Keep => kept.push(task),
        Then::PollOnce => {
            let begun = stamp();
            if let Poll::Ready(result) = poll_once(&mut task).await {
                judge(&world, &record, begun, result);
            }
        }
        Then::Share(count) => {
            let shared = task.share();
            let mut others = Vec::new();
            for _ in 1..count {
                let (world, record, shared) =
                    (Arc::clone(&world), Arc::clone(&record), shared.clone());
                let other = async move { wait(&world, &record, shared).await };
                others.push(scene.world.place(0).handle().spawn(other));
            }
            wait(&world, &record, shared).await;
            for other in others {
                let _ = other.await;
            }
        }
        Then::CancelOnDrop { wait: waits } => {
            record.ask();
            let mut linked = task.cancel_on_drop();
            let begun = stamp();
            if waits {
                judge(&world, &record, begun, linked.await);
            } else if let Poll::Ready(result) = poll_once(&mut linked).await {
                judge(&world, &record, begun, result);
            }
        }
        Then::WaitBlocking if scene.local.is_none() => {
            let begun = stamp();
            // A root that waits here may be cancelled.
            if let Some(result) = caught(|| task.wait_blocking()) {
                judge(&world, &record, begun, result);
            }
        }
        Then::WaitBlocking => wait(&world, &record, task).await,
        Then::WaitOnThread => {
            let (inner, record) = (Arc::clone(&world), Arc::clone(&record));
            world.thread(move || {
                let begun = stamp();
                judge(&inner, &record, begun, task.wait_blocking());
            });
        }
        Then::WaitOnTask(on) => {
            let (inner, record) = (Arc::clone(&world), Arc::clone(&record));
            let other = async move { wait(&inner, &record, task).await };
            world.place(on).handle().spawn(other).detach();
        }
    }
    if record.number().is_multiple_of(3) {
        // Late, or early yet where nobody has waited.
        add_untyped(&world, &record, &late, habits(&record, 9));
    }
}

/// Awaits something that gives the result of `record`, and checks it.
async fn wait<F>(world: &Arc<World>, record: &Arc<Record>, future: F)
where
    F: Future<Output = Result<Output, TaskError>>,
{
    let begun = stamp();
    let result = future.await;
    judge(world, record, begun, result);
}

fn judge(world: &World, record: &Record, begun: u64, result: Result<Output, TaskError>) {
    let outcome = Outcome::of(result.map(Output::take).as_ref().map(|value| *value));
    record.on_result(world, begun, outcome);
}

async fn do_spawn_local(scene: &Scene, step: &Step, act: Option<Act>, callbacks: u8, waits: bool) {
    let Some(place) = &scene.local else {
        return yield_now().await;
    };
    let world = &scene.world;
    let may_go_on = true;
    let record = world.record(step.number, place, Kind::Task, may_go_on, false);
    let inner = scene.of(&record).local(place);
    let body = run(inner, Arc::clone(&step.bodies[0]));
    let watched = Watched::new(world, &record, body, false, false);
    let (over, end) = promise();
    let task = {
        let task = heist::spawn_local(watched);
        record.note(task.task_ref(), true);
        let add = |function: Registered| {
            task.add_done_callback(move |finished| {
                let outcome = Outcome::of(finished.result().map(|output| output.value));
                function(&finished.task_ref(), Some(outcome));
            })
        };
        let remove = |id| task.remove_done_callback(id);
        register(world, &record, callbacks, add, remove);
        task.add_done_callback(move |_| {
            let _ = over.set_result(());
        });
        task.task_ref()
    };
    if let Some(act) = act {
        perform(scene, &record, task, act).await;
    }
    if waits {
        let _ = end.await;
    }
}

fn habits(record: &Record, index: u64) -> Habits {
    let salt = record.number().wrapping_mul(31).wrapping_add(index);
    Habits {
        panics: salt.is_multiple_of(13),
        adds: salt.is_multiple_of(5),
        spawns: salt.is_multiple_of(7),
    }
}

fn add_untyped(world: &Arc<World>, record: &Arc<Record>, task: &TaskRef, habits: Habits) {
    add_callback(world, record, habits, |function| {
        task.add_done_callback(move |task| function(task, None))
    });
}

/// Adds some callbacks, and takes some of them back.
fn register(
    world: &Arc<World>,
    record: &Arc<Record>,
    count: u8,
    add: impl Fn(Registered) -> CallbackId,
    remove: impl Fn(CallbackId) -> bool,
) {
    let mut added: Vec<(Arc<Callback>, CallbackId)> = Vec::new();
    for index in 0..count {
        added.push(add_callback(
            world,
            record,
            habits(record, index.into()),
            &add,
        ));
    }
    for (index, (callback, id)) in added.iter().enumerate() {
        if (record.number() + index as u64).is_multiple_of(4) && remove(*id) {
            callback.on_removed(world);
            if remove(*id) {
                world.fail("a callback was removed twice");
            }
        }
    }
}

fn register_on_task(world: &Arc<World>, record: &Arc<Record>, count: u8, task: &Task<Output>) {
    let typed = |function: Registered| {
        task.add_done_callback(move |finished| {
            let outcome = Outcome::of(finished.result().map(|output| output.value));
            function(&finished.task_ref(), Some(outcome));
        })
    };
    let remove = |id| task.remove_done_callback(id);
    register(world, record, count, typed, remove);
    if count == 2 {
        add_untyped(world, record, &task.task_ref(), habits(record, 7));
    }
}

/// Has `f` done by somebody.
fn have(
    scene: &Scene,
    place: &Place,
    by: By,
    yielding: u8,
    function: impl FnOnce() + Send + 'static,
) {
    let guard = scene.world.guard();
    let f = move || {
        let _guard = guard;
        function();
    };
    match by {
        By::Here => f(),
        By::Task => {
            let task = async move {
                yields(yielding).await;
                f();
            };
            place.handle().spawn(task).detach();
        }
        By::Thread => scene.world.thread(move || {
            for _ in 0..yielding {
                thread::yield_now();
            }
            f();
        }),
        By::Blocking => place.handle().spawn_blocking(f).detach(),
        By::Call => drop(place.handle().call_soon(f)),
    }
}

async fn perform(scene: &Scene, record: &Arc<Record>, task: TaskRef, act: Act) {
    if act.by == By::Here {
        yields(act.yields).await;
    }
    let doer = Arc::clone(record);
    let request = move || {
        doer.ask();
        let (accepted, abort) = match act.what {
            What::Cancel => (task.cancel(), false),
            What::CancelWith => (task.cancel_with("asked by the program"), false),
            What::Abort => (task.abort(), true),
            What::CancelAndUncancel => {
                task.cancel();
                task.uncancel();
                (false, false)
            }
        };
        if accepted {
            doer.accepted(abort);
        }
    };
    have(scene, &record.place, act.by, act.yields, request);
}

async fn end_myself(scene: &Scene, abort: bool) {
    if let (Some(task), false) = (try_current(), scene.foreign) {
        if let Some(owner) = &scene.owner {
            owner.ask();
        }
        let accepted = if abort { task.abort() } else { task.cancel() };
        if !accepted && scene.owner.is_some() {
            scene.world.fail("a task that runs cannot be ended");
        }
    }
    yield_now().await;
}

async fn do_catch(scene: &Scene, step: &Step, end: CatchEnd) {
    let [body, clean_up] = &step.bodies[..] else {
        return;
    };
    let Err(cancelled) = catch_cancel(run(scene.clone(), Arc::clone(body))).await else {
        return;
    };
    let unasked = |owner: &&Arc<Record>| !owner.may_be_cancelled();
    if let Some(owner) = scene.owner.as_ref().filter(unasked) {
        scene
            .world
            .fail(&format!("caught what nobody asked for: {owner:?}"));
    }
    run(scene.clone(), Arc::clone(clean_up)).await;
    match end {
        CatchEnd::Swallow => {}
        CatchEnd::Uncancel => {
            try_current().map(|task| task.uncancel());
        }
        CatchEnd::Resume => {
            if let Some(owner) = &scene.owner {
                owner.on_resume();
            }
            cancelled.resume::<()>().await;
        }
    }
}

/// Calls of one step: which have run, in which order.
#[derive(Default)]
struct Calls {
    ran: Mutex<Vec<u8>>,
    running: AtomicBool,
}

fn do_calls(scene: &Scene, step: &Step) {
    let Op::Call {
        on,
        delay,
        count,
        cancel,
        panic,
    } = step.op
    else {
        return;
    };
    let world = &scene.world;
    let place = world.place(on);
    let calls = Arc::new(Calls::default());
    let mut handles: Vec<CallHandle> = Vec::new();
    for index in 0..count {
        let (inner, calls) = (Arc::clone(world), Arc::clone(&calls));
        let (home, guard) = (Arc::clone(&place), world.guard());
        let last = index + 1 == count;
        let body = last.then(|| Arc::clone(&step.bodies[0]));
        let number = step.number;
        let begun = Instant::now();
        let call = move || {
            let _guard = guard;
            if delay.is_some_and(|delay| begun.elapsed() < micros(delay)) {
                inner.fail(&format!("call_later of step {number} came early"));
            }
            if home.is_closed() {
                inner.fail(&format!(
                    "a call of step {number} after the shutdown returned"
                ));
            }
            if calls.running.swap(true, SeqCst) && delay.is_none() {
                inner.fail(&format!("calls of step {number} overlap"));
            }
            lock(&calls.ran).push(index);
            if let Some(body) = body.filter(|body| !body.is_empty()) {
                let record = inner.record(number, &home, Kind::Task, true, false);
                let scene = Scene::outside(&inner).of(&record);
                let watched = Watched::new(&inner, &record, run(scene, body), false, false);
                let task = home.handle().spawn(watched);
                record.note(task.task_ref(), false);
            }
            calls.running.store(false, SeqCst);
            if panic && last {
                panic_as_asked();
            }
        };
        handles.push(match delay {
            None => place.handle().call_soon(call),
            Some(delay) => place.handle().call_later(micros(delay), call),
        });
    }
    let prevented = cancel && handles[0].cancel();
    let number = step.number;
    world.in_the_end(move || {
        let ran = lock(&calls.ran).clone();
        let in_order = ran.is_sorted() || delay.is_some();
        let mut once = ran.clone();
        once.sort_unstable();
        once.dedup();
        let prevented_ran = prevented && ran.contains(&0);
        // Those that did not run were cancelled: by the program, or by the end of the runtime.
        let lost = handles
            .iter()
            .zip(0..)
            .any(|(handle, index)| handle.is_cancelled() == ran.contains(&index));
        let cancelled = handles
            .iter()
            .filter(|handle| handle.is_cancelled())
            .count();
        let unasked = cancelled > usize::from(prevented) && !place.is_closing();
        let wrong = !in_order || once.len() != ran.len() || prevented_ran || lost || unasked;
        wrong.then(|| {
            format!("calls of step {number}: ran {ran:?} of {handles:?}, prevented {prevented}")
        })
    });
}

async fn do_promise(
    scene: &Scene,
    step: &Step,
    on: u8,
    by: By,
    keep: bool,
    callbacks: u8,
    then: Wait,
) {
    let world = &scene.world;
    let place = world.place(on);
    let record = world.record(step.number, &place, Kind::Promise, true, false);
    // Whoever is to keep the promise may be cancelled, or be refused.
    record.ask();
    let (promise, deferred) = promise::<Output>();
    let add = |function: Registered| {
        deferred.add_done_callback(move |finished| {
            let outcome = Outcome::of(finished.result().map(|output| output.value));
            function(&finished.task_ref(), Some(outcome));
        })
    };
    // Without a runtime that is current it would start the process-wide one, which nobody watches.
    if Handle::try_current().is_some() {
        let remove = |id| deferred.remove_done_callback(id);
        register(world, &record, callbacks, add, remove);
    }
    let keeper = (Arc::clone(world), Arc::clone(&record));
    have(scene, &place, by, step.number as u8 % 3, move || {
        complete(&keeper.0, &keeper.1, promise, keep);
    });
    wait_for_promise(world, &record, deferred, then).await;
}

fn complete(world: &Arc<World>, record: &Record, promise: Promise<Output>, keep: bool) {
    if keep {
        record.on_return();
        // Given back if nobody waits any more; dropped here, then.
        drop(promise.set_result(Output::new(world, record.number(), false)));
    }
}

async fn wait_for_promise(
    world: &Arc<World>,
    record: &Arc<Record>,
    deferred: Deferred<Output>,
    then: Wait,
) {
    match then {
        Wait::Await => wait(world, record, deferred).await,
        Wait::Drop => drop(deferred),
        Wait::Cancel => {
            deferred.cancel();
            wait(world, record, deferred).await;
        }
        Wait::Share(count) => {
            let shared = deferred.share();
            for _ in 1..count {
                let (inner, record, shared) =
                    (Arc::clone(world), Arc::clone(record), shared.clone());
                let other = async move { wait(&inner, &record, shared).await };
                world.place(0).handle().spawn(other).detach();
            }
            wait(world, record, shared).await;
        }
    }
}

/// A waker that is woken often, and once more when this is dropped.
struct Waking {
    #[expect(dead_code, reason = "it is there to be dropped")]
    guard: Guard,
    waker: Waker,
    left: Arc<AtomicUsize>,
}

impl Drop for Waking {
    fn drop(&mut self) {
        self.left.fetch_sub(1, SeqCst);
        self.waker.wake_by_ref();
    }
}

async fn storm(scene: &Scene, tasks: u8, threads: u8) {
    let left = Arc::new(AtomicUsize::new((tasks + threads).into()));
    let mut begun = false;
    poll_fn(|cx| {
        if !std::mem::replace(&mut begun, true) {
            start_storm(scene, cx, tasks, threads, &left);
        }
        if left.load(SeqCst) == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

fn start_storm(scene: &Scene, cx: &Context<'_>, tasks: u8, threads: u8, left: &Arc<AtomicUsize>) {
    let waking = || Waking {
        guard: scene.world.guard(),
        waker: cx.waker().clone(),
        left: Arc::clone(left),
    };
    for _ in 0..tasks {
        let waking = waking();
        let task = async move {
            for _ in 0..5 {
                waking.waker.wake_by_ref();
                drop(waking.waker.clone());
                yield_now().await;
            }
        };
        scene.world.place(0).handle().spawn(task).detach();
    }
    for _ in 0..threads {
        let waking = waking();
        scene.world.thread(move || {
            for _ in 0..20 {
                waking.waker.wake_by_ref();
            }
        });
    }
}

/// A runtime of its own, which ends here, in the middle of a poll.
async fn nested_runtime(scene: &Scene, step: &Step, grace: Duration) {
    let world = &scene.world;
    let place = world.add_place();
    let builder = place.builder().worker_threads(1).shutdown_grace(grace);
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => world.fail(&format!("no runtime: {error}")),
    };
    place.open(runtime.handle().clone());
    // If this is dropped while it waits, before the runtime is.
    let closing = Closing(&place);
    let record = world.record(step.number, &place, Kind::Task, true, false);
    let body = run(scene.of(&record), Arc::clone(&step.bodies[0]));
    let task = runtime.spawn(Watched::new(world, &record, body, false, false));
    record.note(task.task_ref(), true);
    yields(3).await;
    drop(closing);
    let report = runtime.shutdown(grace);
    place.close(world, Some((&report, grace)));
    wait(world, &record, task).await;
}

/// Tells that a runtime is about to be dropped.
struct Closing<'a>(&'a Place);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.begin_closing();
    }
}
