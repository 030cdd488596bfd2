//! Variables that code sees because of who called it.
//!
//! A [`ContextVar`] is inherited: what is spawned while it is set sees it too, tasks and blocking closures, and so do done-callbacks and
//! calls that are registered then. A [`TaskLocal`] is not: it belongs to the code that runs in its scope, in that task. Which of the two a
//! variable is stands where it is declared.
//!
//! ```
//! heist::context_var! {
//!     /// Which request a log line belongs to.
//!     static REQUEST: u64;
//! }
//!
//! # fn main() -> Result<(), heist::TaskError> {
//! heist::run(async {
//!     let handler = REQUEST.scope(7, async {
//!         // A task of its own, and of the same request.
//!         heist::spawn(async { REQUEST.get() }).await
//!     });
//!     assert_eq!(handler.await?, Some(7));
//!     assert_eq!(REQUEST.get(), None);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # Counterpart
//!
//! `contextvars`. There a variable is set, and reset by a token; here it is set for a future or for a closure, and nothing can forget to
//! reset it. What a task spawns gets the values of that moment, and cannot change those of its parent: as in asyncio.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Cx, Poll};

use heist_core::variables::{self, Inherited, Key, Value};

/// Declares [`ContextVar`]s, as statics.
///
/// # Examples
///
/// ```
/// heist::context_var! {
///     /// Who asks.
///     pub static USER: String;
///     static REQUEST: u64;
/// }
///
/// let name = USER.sync_scope("eve".to_owned(), || USER.get());
/// assert_eq!(name.as_deref(), Some("eve"));
/// ```
///
/// # Counterpart
///
/// `contextvars.ContextVar(name)`.
#[doc(alias = "contextvars")]
#[macro_export]
macro_rules! context_var {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty;)+) => {
        $($(#[$meta])* $vis static $name: $crate::context::ContextVar<$type> =
            $crate::context::ContextVar::new(stringify!($name));)+
    };
}

/// Declares [`TaskLocal`]s, as statics.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
///
/// heist::task_local! {
///     static DEPTH: Cell<u32>;
/// }
///
/// let depth = heist::block_on(DEPTH.scope(Cell::new(0), async {
///     DEPTH.with(|depth| depth.unwrap().set(1));
///     heist::task::yield_now().await;
///     DEPTH.with(|depth| depth.unwrap().get())
/// }));
/// assert_eq!(depth, 1);
/// ```
///
/// # Counterpart
///
/// `tokio::task_local!`. asyncio has none; `threading.local` is what it is to threads.
#[macro_export]
macro_rules! task_local {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty;)+) => {
        $($(#[$meta])* $vis static $name: $crate::context::TaskLocal<$type> =
            $crate::context::TaskLocal::new(stringify!($name));)+
    };
}

macro_rules! reading {
    ($type:ty) => {
        /// The name that it was declared with.
        pub fn name(&self) -> &'static str {
            self.name
        }

        /// The value here, or `None` where it is not set.
        pub fn get(&'static self) -> Option<T>
        where
            T: Clone,
        {
            self.with(|value| value.cloned())
        }

        /// Gives the value here to `f`, or `None` where it is not set.
        pub fn with<R>(&'static self, f: impl FnOnce(Option<&T>) -> R) -> R {
            variables::look(Key::of(self), |value| {
                // What is set for this key is a `T`.
                f(value.and_then(|value| value.downcast_ref()))
            })
        }
    };
}

/// A variable that what is spawned inherits. Made by [`context_var!`].
///
/// Values are shared with the tasks that inherit them, and dropped by the last one.
///
/// # Counterpart
///
/// `contextvars.ContextVar`, without `set`: see [the module](self).
pub struct ContextVar<T: 'static> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> ContextVar<T> {
    #[doc(hidden)]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    reading!(ContextVar<T>);

    /// Sets it for a future, while that is polled and dropped.
    pub fn scope<F: Future>(
        &'static self,
        value: T,
        future: F,
    ) -> impl Future<Output = F::Output> + use<T, F> {
        InContext::new([(Key::of(self), Arc::new(value) as Value)], future)
    }

    /// Sets it while `f` runs.
    pub fn sync_scope<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        [(Key::of(self), Arc::new(value) as Value)].during(f)
    }
}

/// A variable of the code that runs in its scope, which nothing inherits. Made by [`task_local!`].
///
/// # Counterpart
///
/// `tokio::task::LocalKey`.
#[doc(alias = "LocalKey")]
pub struct TaskLocal<T: 'static> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T: 'static> TaskLocal<T> {
    #[doc(hidden)]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            value: PhantomData,
        }
    }

    reading!(TaskLocal<T>);

    /// Sets it for a future, while that is polled and dropped.
    pub fn scope<F: Future>(
        &'static self,
        value: T,
        future: F,
    ) -> impl Future<Output = F::Output> + use<T, F> {
        InContext::new(Own(Key::of(self), value), future)
    }

    /// Sets it while `f` runs.
    pub fn sync_scope<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        Own(Key::of(self), value).during(f)
    }
}

impl<T> fmt::Debug for ContextVar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContextVar").field(&self.name).finish()
    }
}

impl<T> fmt::Debug for TaskLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskLocal").field(&self.name).finish()
    }
}

/// The values of all [`ContextVar`]s somewhere, for code that runs elsewhere: on a thread of one's own, say.
///
/// # Examples
///
/// ```
/// use heist::context::Context;
///
/// heist::context_var! {
///     static REQUEST: u64;
/// }
///
/// let context = REQUEST.sync_scope(7, Context::current);
/// let thread = std::thread::spawn(move || context.sync_scope(|| REQUEST.get()));
/// assert_eq!(thread.join().unwrap(), Some(7));
/// ```
///
/// # Counterpart
///
/// `contextvars.copy_context()` and `Context.run`. What is set where it is used, and was not where it was made, is seen still.
#[derive(Clone, Debug, Default)]
#[doc(alias = "copy_context")]
pub struct Context(Option<Inherited>);

impl Context {
    /// The values here.
    pub fn current() -> Self {
        Self(Inherited::here())
    }

    /// Sets them for a future, while that is polled and dropped.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        InContext::new(self.0, future)
    }

    /// Sets them while `f` runs.
    #[doc(alias = "run")]
    pub fn sync_scope<R>(&self, f: impl FnOnce() -> R) -> R {
        self.0.during(f)
    }
}

/// `f`, which sees what is inherited here.
pub(crate) fn carrying<R>(f: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let inherited = Inherited::here();
    move || inherited.during(f)
}

/// Values that can be set while something runs.
pub(crate) trait Values {
    fn during<R>(&self, f: impl FnOnce() -> R) -> R;
}

struct Own<T>(Key, T);

impl<T: Any> Values for Own<T> {
    fn during<R>(&self, f: impl FnOnce() -> R) -> R {
        variables::with_own(self.0, &self.1, f)
    }
}

impl Values for [(Key, Value); 1] {
    fn during<R>(&self, f: impl FnOnce() -> R) -> R {
        variables::with_inherited(self, f)
    }
}

impl Values for Inherited {
    fn during<R>(&self, f: impl FnOnce() -> R) -> R {
        Self::during(self, f)
    }
}

impl<V: Values> Values for Option<V> {
    fn during<R>(&self, f: impl FnOnce() -> R) -> R {
        match self {
            Some(values) => values.during(f),
            None => f(),
        }
    }
}

pin_project_lite::pin_project! {
    /// A future, and the values that are set while it is polled and dropped.
    pub(crate) struct InContext<V: Values, F> {
        values: V,
        // `None`: it is over.
        #[pin]
        future: Option<F>,
    }

    impl<V: Values, F> PinnedDrop for InContext<V, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                this.values.during(|| this.future.set(None));
            }
        }
    }
}

impl<V: Values, F> InContext<V, F> {
    pub(crate) fn new(values: V, future: F) -> Self {
        Self {
            values,
            future: Some(future),
        }
    }
}

impl<V: Values, F: Future> Future for InContext<V, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.values.during(|| {
            let Some(future) = this.future.as_mut().as_pin_mut() else {
                panic!("a future was polled again after it was over");
            };
            let polled = future.poll(cx);
            if polled.is_ready() {
                this.future.set(None);
            }
            polled
        })
    }
}
