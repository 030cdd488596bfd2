//! Runs a program: its runtimes, its threads, its end.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use heist::runtime::ShutdownReport;
use heist::task::try_current;
use heist::{Runtime, TaskError};

use crate::counts::Counts;
use crate::oracle::{Kind, Place, World};
use crate::program::{Body, End, Outside, Program};
use crate::steps::{Scene, run};
use crate::watched::{Watched, ignore};

/// How long threads get that wait for what never comes.
const IMPATIENT: Duration = Duration::from_millis(30);

/// What `drop` gives.
const DROP_GRACE: Duration = Duration::from_millis(10);

/// Runs a program from its beginning to its end. Returns what it did.
pub(crate) fn execute(program: Program) -> Counts {
    let world = World::new(program);
    let runtimes: Vec<_> = (0..world.program.runtimes).map(|_| open(&world)).collect();
    let (done, over) = channel();
    for (kind, body) in &world.program.outside {
        let (inner, kind, body, done) = (Arc::clone(&world), *kind, Arc::clone(body), done.clone());
        world.thread(move || {
            outside(&inner, kind, &body);
            let _ = done.send(());
        });
    }
    drop(done);
    match world.program.life {
        Some(life) => thread::sleep(micros(life)),
        // Nobody has to be cancelled for this one to end: a lost wakeup shows.
        None if world.program.ends_by_itself() => {
            while over.recv().is_ok() {}
            world.settle();
            world.check_rest();
        }
        None => {
            let until = Instant::now() + IMPATIENT;
            let rest = || until.saturating_duration_since(Instant::now());
            while over.recv_timeout(rest()).is_ok() {}
        }
    }
    for ((place, runtime), (end, grace)) in runtimes.into_iter().zip(&world.program.ends) {
        finish(&world, &place, runtime, *end, micros(*grace));
    }
    while over.recv_timeout(Duration::from_millis(1)) != Err(RecvTimeoutError::Disconnected) {
        // A root that is there by now, or that begins to be.
        for root in crate::oracle::lock(&world.local_roots).iter() {
            root.abort();
        }
    }
    world.finish();
    world.counts()
}

pub(crate) fn micros(time: u32) -> Duration {
    Duration::from_micros(time.into())
}

fn open(world: &Arc<World>) -> (Arc<Place>, Runtime) {
    let place = world.add_place(world.program.workers);
    // What `drop` uses.
    let builder = place.builder(world).shutdown_grace(DROP_GRACE);
    match builder.build() {
        Ok(runtime) => {
            place.open(runtime.handle().clone());
            (place, runtime)
        }
        Err(error) => world.fail(&format!("no runtime: {error}")),
    }
}

fn finish(world: &Arc<World>, place: &Arc<Place>, runtime: Runtime, end: End, grace: Duration) {
    match end {
        End::Shutdown => {
            place.begin_closing(grace);
            let report = runtime.shutdown(grace);
            place.close(world, Some((&report, grace)));
        }
        End::Drop => {
            place.begin_closing(DROP_GRACE);
            drop(runtime);
            place.close(world, None);
        }
        End::Inside => finish_inside(world, place, runtime, Some(grace)),
        End::DropInside => finish_inside(world, place, runtime, None),
    }
}

/// Ends the runtime in one of its tasks. `None`: by dropping it.
fn finish_inside(
    world: &Arc<World>,
    place: &Arc<Place>,
    runtime: Runtime,
    grace: Option<Duration>,
) {
    let record = world.record(u32::MAX, place, Kind::Task, false, false);
    let (ended, end) = channel();
    let (inner, inside) = (Arc::clone(world), Arc::clone(place));
    let body = Box::pin(async move {
        let own = try_current().map(|task| task.id());
        inside.begin_closing(grace.unwrap_or(DROP_GRACE));
        let (begun, starved) = (Instant::now(), starved());
        let report = match grace {
            Some(grace) => Some(runtime.shutdown(grace)),
            None => {
                drop(runtime);
                None
            }
        };
        let lists_caller =
            |report: &ShutdownReport| report.tasks.iter().any(|task| Some(task.id()) == own);
        if !report.as_ref().is_none_or(lists_caller) {
            inner.fail(&format!(
                "a shutdown from inside does not list its caller: {report:?}"
            ));
        }
        // A thread that has no processor does not wait for anything that a shutdown could wait for.
        let waited = begun.elapsed().saturating_sub(self::starved() - starved);
        if waited > Duration::from_secs(5) {
            inner.fail("a shutdown from inside waited");
        }
        let _ = ended.send(());
    });
    let handle = place.handle().clone();
    let watched = Watched::new(world, &record, body, false, false);
    let task = handle.spawn(watched);
    record.note(task.task_ref(), true);
    task.detach();
    let _ = end.recv();
}

/// The body of a thread.
fn outside(world: &Arc<World>, kind: Outside, body: &Body) {
    let scene = Scene::outside(world);
    let ran = match kind {
        Outside::Root(on) => {
            let place = world.place(on);
            caught(|| place.handle().block_on(run(scene, Arc::clone(body))))
        }
        Outside::Foreign(on) => {
            let place = world.place(on);
            let _entered = place.handle().enter();
            caught(|| wait_for(run(scene.foreign(), Arc::clone(body))))
        }
        Outside::Local => caught(|| local(world, body)),
    };
    // A program may ask for a panic, or for the end of a root: `caught` has seen to all others.
    let _ = ran;
}

fn local(world: &Arc<World>, body: &Body) {
    let place = world.add_place(1);
    place.adopt_thread();
    let runtime = match place.builder(world).build_local() {
        Ok(runtime) => runtime,
        Err(error) => world.fail(&format!("no local runtime: {error}")),
    };
    place.open(runtime.handle().clone());
    let scene = Scene::outside(world).local(&place);
    let roots = Arc::clone(world);
    let _ = caught(|| {
        runtime.block_on(async {
            if let Some(root) = try_current() {
                crate::oracle::lock(&roots.local_roots).push(root);
            }
            run(scene, Arc::clone(body)).await;
        });
    });
    let grace = Duration::from_millis(10);
    place.begin_closing(grace);
    let report = runtime.shutdown(grace);
    place.close(world, Some((&report, grace)));
}

/// Runs `f`; a panic that was asked for, and that of a root that was cancelled, end here.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => Some(result),
        Err(payload) => {
            if let Some(error) = payload.downcast_ref::<TaskError>() {
                assert!(error.is_cancelled(), "a root ended with {error:?}");
            }
            ignore(payload);
            None
        }
    }
}

/// An executor that knows nothing of heist.
pub(crate) fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::park();
    }
}

/// For how long this thread has been ready without a processor, if the system tells.
fn starved() -> Duration {
    let file = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = file.split_ascii_whitespace().nth(1);
    Duration::from_nanos(nanoseconds.and_then(|n| n.parse().ok()).unwrap_or(0))
}
