//! What loom has in another form.

/// A cell whose value may be unsized, which loom's may not: loom watches one beside it.
pub(crate) struct UnsafeCell<T: ?Sized> {
    watched: loom::cell::UnsafeCell<()>,
    value: std::cell::UnsafeCell<T>,
}

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            watched: loom::cell::UnsafeCell::new(()),
            value: std::cell::UnsafeCell::new(value),
        }
    }

    pub(crate) fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> UnsafeCell<T> {
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        self.watched.with(|_| f(self.value.get()))
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        self.watched.with_mut(|_| f(self.value.get()))
    }
}
