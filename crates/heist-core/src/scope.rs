//! Lending what is on a stack to tasks: code that borrows runs elsewhere, and [`scope`] returns when it is gone.
//!
//! ```text
//! scope ── lends ──► Lent* (a box whose lifetime is erased) ── dropped ──► Place given up
//!   └── waits until no place is out ◄──────────────────────────────────────────┘
//! ```
//!
//! # Invariants
//! * INV-1: what is lent is dropped, with all that it borrows, before its `Place` is given up.
//! * INV-2: [`scope`] ends, by return or by panic, only when no place is out. Whoever waits for it says so; that it is so is
//!   looked at again, and a wait that ends before aborts the process.
//! * INV-3: a place is made only while `scope` is under way: by its closure, or by code that is lent and has a place itself.
//!
//! Who leaks what was lent never gives its place up, and the scope does not end. That is all that a leak can do.
//!
//! # Dropped
//! A count in a word, as `std::thread::scope` has: it is a fence and a proof more, and one spawn costs an allocation or two anyway.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::process;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, mutated};

/// Lends to tasks what outlives `'scope`. Made by [`scope`].
pub struct Lender<'scope, 'env: 'scope, D> {
    shared: Arc<Shared>,
    data: D,
    // Neither lifetime may be made another one.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

struct Shared {
    places: Mutex<Places>,
}

struct Places {
    out: usize,
    waiting: Option<Waker>,
}

/// Runs `f`, and then `wait`, which shall not return before the function that it gets, polled, is `true`: nothing is lent any more.
///
/// `wait` runs also if `f` panics, before that goes on. `data` is there as long as anything is lent.
pub fn scope<'env, D, T>(
    data: D,
    f: impl for<'scope> FnOnce(&'scope Lender<'scope, 'env, D>) -> T,
    wait: impl FnOnce(&mut dyn FnMut(&mut Context<'_>) -> bool),
) -> T {
    let lender = Lender {
        shared: Arc::new(Shared {
            places: Mutex::new(Places {
                out: 0,
                waiting: None,
            }),
        }),
        data,
        scope: PhantomData,
        env: PhantomData,
    };
    // As a destructor it runs whatever `f` does, and before that of the lender.
    let _end = End {
        shared: &lender.shared,
        wait: Some(wait),
    };
    f(&lender)
}

/// Waits for what is lent.
struct End<'a, W: FnOnce(&mut dyn FnMut(&mut Context<'_>) -> bool)> {
    shared: &'a Shared,
    wait: Option<W>,
}

impl<W: FnOnce(&mut dyn FnMut(&mut Context<'_>) -> bool)> Drop for End<'_, W> {
    fn drop(&mut self) {
        let unless_over = Abort(self.shared);
        if let Some(wait) = self.wait.take() {
            wait(&mut |cx| self.shared.poll_over(cx));
        }
        drop(unless_over);
    }
}

/// The end of the process, if something is lent still. Also where whoever waits panics.
struct Abort<'a>(&'a Shared);

impl Drop for Abort<'_> {
    fn drop(&mut self) {
        if self.0.places.lock().out > 0 && !mutated("scope-unwaited") {
            process::abort();
        }
    }
}

impl Shared {
    fn poll_over(&self, cx: &mut Context<'_>) -> bool {
        let mut places = self.places.lock();
        if places.out == 0 || mutated("scope-unwaited") {
            return true;
        }
        let before = places.waiting.replace(cx.waker().clone());
        drop(places);
        drop(before);
        false
    }
}

impl<'scope, D> Lender<'scope, '_, D> {
    /// What [`scope`] was given.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// This future for a task of anybody's.
    pub fn future(&'scope self, future: impl Future<Output = ()> + Send + 'scope) -> LentFuture {
        let body: Pin<Box<dyn Future<Output = ()> + Send + 'scope>> = Box::pin(Body {
            future,
            place: self.place(),
        });
        // SAFETY: the body has a place, which goes last (INV-1), and until then 'scope is not over (INV-2). A trait object is the same
        // pointer and the same vtable whatever its lifetime is.
        let body = unsafe {
            std::mem::transmute::<
                Pin<Box<dyn Future<Output = ()> + Send + 'scope>>,
                Pin<Box<dyn Future<Output = ()> + Send + 'static>>,
            >(body)
        };
        LentFuture(body)
    }

    /// This closure for a thread of anybody's.
    pub fn closure(&'scope self, f: impl FnOnce() + Send + 'scope) -> LentClosure {
        let job = Job {
            f: Box::new(f),
            place: self.place(),
        };
        let job: Box<dyn FnOnce() + Send + 'scope> = Box::new(move || {
            // As a whole, so that `f` goes before the place if it is never called.
            let job = job;
            let Job { f, place } = job;
            f();
            drop(place);
        });
        // SAFETY: as in `future`. If `f` panics, its captures are dropped in its call, and the place by what unwinds here.
        let job = unsafe {
            std::mem::transmute::<
                Box<dyn FnOnce() + Send + 'scope>,
                Box<dyn FnOnce() + Send + 'static>,
            >(job)
        };
        LentClosure(job)
    }

    fn place(&self) -> Place {
        self.shared.places.lock().out += 1;
        Place(Arc::clone(&self.shared))
    }
}

impl<D> fmt::Debug for Lender<'_, '_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lent = self.shared.places.lock().out;
        f.debug_struct("Lender")
            .field("lent", &lent)
            .finish_non_exhaustive()
    }
}

/// One piece of code that is lent.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.0.places.lock();
        places.out -= 1;
        let waiting = if places.out == 0 {
            places.waiting.take()
        } else {
            None
        };
        drop(places);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

pin_project_lite::pin_project! {
    struct Body<F> {
        #[pin]
        future: F,
        // Dropped last (INV-1), also where the destructor of the future panics.
        place: Place,
    }
}

impl<F: Future<Output = ()>> Future for Body<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().future.poll(cx)
    }
}

/// As [`Body`]. What is borrowed stands in a box: an argument that is a reference must be good until its function returns, and `place` goes
/// before that.
struct Job<F> {
    f: Box<F>,
    place: Place,
}

/// A future that borrows from a stack, which it keeps from going.
#[must_use = "a future does nothing unless it is awaited"]
pub struct LentFuture(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for LentFuture {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for LentFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentFuture").finish_non_exhaustive()
    }
}

/// A closure that borrows from a stack, which it keeps from going.
#[must_use = "a closure does nothing unless it is called"]
pub struct LentClosure(Box<dyn FnOnce() + Send>);

impl LentClosure {
    /// Calls it.
    pub fn call(self) {
        (self.0)();
    }
}

impl fmt::Debug for LentClosure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentClosure").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::thread::{self, Thread};

    use super::*;

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait(poll: &mut dyn FnMut(&mut Context<'_>) -> bool) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        while !poll(&mut Context::from_waker(&waker)) {
            thread::park();
        }
    }

    struct Counted<'a>(&'a AtomicUsize);

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_lent_elsewhere_races_with_the_end_of_its_scope() {
        let mut number = 0;
        let counted = AtomicUsize::new(0);
        let thread = scope(
            (),
            |lender| {
                let (counted, number) = (Counted(&counted), &mut number);
                let job = lender.closure(move || {
                    let _counted = counted;
                    *number += 1;
                });
                thread::spawn(|| job.call())
            },
            wait,
        );
        assert_eq!((number, counted.into_inner()), (1, 1));
        thread.join().expect("it has ended well");
    }

    #[test]
    fn what_is_lent_may_go_while_the_call_that_borrowed_it_returns_which_races() {
        // Wakes, and gives the one who waits the time to end the scope before the call is over.
        struct Slow(Thread);

        impl Wake for Slow {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
                (0..200).for_each(|_| thread::yield_now());
            }
        }

        let mut number = Box::new(0);
        let thread = scope(
            (),
            |lender| {
                let number = &mut *number;
                let job = lender.closure(move || *number += 1);
                thread::spawn(|| {
                    (0..20).for_each(|_| thread::yield_now());
                    job.call();
                })
            },
            |poll| {
                let waker = Waker::from(Arc::new(Slow(thread::current())));
                while !poll(&mut Context::from_waker(&waker)) {
                    thread::park();
                }
            },
        );
        assert_eq!(*number, 1);
        drop(number);
        thread.join().expect("it has ended well");
    }

    #[test]
    fn a_panic_of_who_lends_races_with_what_is_lent() {
        let (counted, number) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let result = catch_unwind(AssertUnwindSafe(|| {
            scope(
                (),
                |lender| {
                    for _ in 0..2 {
                        let (counted, number) = (Counted(&counted), &number);
                        let job = lender.closure(move || {
                            let _counted = counted;
                            number.fetch_add(1, Ordering::Relaxed);
                            std::panic::resume_unwind(Box::new("its own"));
                        });
                        thread::spawn(|| job.call());
                    }
                    std::panic::resume_unwind(Box::new("the lender's"));
                },
                wait,
            );
        }));
        assert!(result.is_err());
        assert_eq!((number.into_inner(), counted.into_inner()), (2, 2));
    }

    #[test]
    fn what_is_dropped_before_it_has_run_or_half_way_is_given_back() {
        let counted = AtomicUsize::new(0);
        scope(
            (),
            |lender| {
                let guard = Counted(&counted);
                drop(lender.closure(move || drop(guard)));
                let guard = Counted(&counted);
                let mut future = lender.future(async move {
                    let _guard = guard;
                    poll_fn(|_| Poll::<()>::Pending).await;
                });
                let mut cx = Context::from_waker(Waker::noop());
                assert!(Pin::new(&mut future).poll(&mut cx).is_pending());
                assert_eq!(format!("{lender:?}"), "Lender { lent: 1, .. }");
            },
            wait,
        );
        assert_eq!(counted.into_inner(), 2);
    }
}
