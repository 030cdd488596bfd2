//! How much memory is allocated: nobody counts.

/// It would cost something for each allocation.
pub(crate) fn allocated() -> Option<usize> {
    None
}
