//! How much memory is allocated.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Bytes that are allocated now.
pub(crate) fn allocated() -> Option<usize> {
    Some(ALLOCATOR.allocated())
}
