//! Memory for cells: a small cache of free blocks per worker, by size, over the allocator.
//!
//! A task that ends leaves a block that the next one of its kind takes at once: the allocator's way there and back costs as much as
//! everything else of a short task. The cache belongs to a worker's frame: it needs no lock, and goes with the frame. Blocks come from
//! the allocator one by one, so any thread may give any block back to it.
//!
//! # Invariants
//! * BLOCK-1: a block in a list has the size of that list's class and is free; its first word links to the next one.
//! * BLOCK-2: the frame's pointer to the cache is set only by the frame that owns it, on its own thread.

use crate::context::FRAME;
use crate::sync::{CACHED_BYTES, alloc, dealloc};
use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::NonNull;

/// Free blocks of one worker.
pub(crate) struct Cache {
    /// The heads of the lists of free blocks, by class.
    lists: [Cell<Option<NonNull<Free>>>; CLASSES],
    /// Bytes that may still be kept.
    room: Cell<usize>,
}

/// A free block's first word.
struct Free(Option<NonNull<Free>>);

/// Blocks of more than 1 KiB are not kept.
const CLASSES: usize = 64;
const ALIGN: usize = 8;

/// The class of a layout: sizes that end in 8, 16 bytes apart. An allocator that puts a word in front of each block, as most do, wastes
/// nothing with those.
#[inline]
const fn class_of(layout: Layout) -> Option<usize> {
    let class = (layout.size() + 7) / 16;
    if class < CLASSES && layout.align() <= ALIGN {
        Some(class)
    } else {
        None
    }
}

const fn class_layout(class: usize) -> Layout {
    match Layout::from_size_align(class * 16 + 8, ALIGN) {
        Ok(layout) => layout,
        Err(_) => panic!("the classes are small"),
    }
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            lists: [const { Cell::new(None) }; CLASSES],
            room: Cell::new(CACHED_BYTES),
        }
    }

    #[inline]
    fn take(&self, class: usize) -> Option<NonNull<u8>> {
        let head = &self.lists[class];
        let block = head.get()?;
        // SAFETY: BLOCK-1.
        let next = unsafe { block.read() };
        head.set(next.0);
        self.room.set(self.room.get() + class_layout(class).size());
        Some(block.cast())
    }

    /// Keeps a free block, if there is room.
    #[inline]
    fn give(&self, class: usize, block: NonNull<u8>) -> bool {
        let Some(room) = self.room.get().checked_sub(class_layout(class).size()) else {
            return false;
        };
        self.room.set(room);
        let block = block.cast::<Free>();
        // SAFETY: the block is free, and larger than a word.
        unsafe { block.write(Free(self.lists[class].get())) };
        self.lists[class].set(Some(block));
        true
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        for class in 0..CLASSES {
            while let Some(block) = self.take(class) {
                // SAFETY: BLOCK-1: it came from `allocate`, which asked for the layout of its class.
                unsafe { dealloc(block.as_ptr(), class_layout(class)) };
            }
        }
    }
}

/// This thread's cache.
#[inline]
fn with_cache<R>(f: impl FnOnce(&Cache) -> R) -> Option<R> {
    let cache = FRAME.with(|frame| frame.cache.get());
    // SAFETY: BLOCK-2: the frame is still on this thread's stack.
    let cache = unsafe { cache.as_ref() }?;
    Some(f(cache))
}

/// Memory for `layout`, null if there is none.
#[inline]
pub(crate) fn allocate(layout: Layout) -> *mut u8 {
    let Some(class) = class_of(layout) else {
        // SAFETY: a cell's layout has a size.
        return unsafe { alloc(layout) };
    };
    match with_cache(|cache| cache.take(class)).flatten() {
        Some(block) => block.as_ptr(),
        // SAFETY: no class has the size 0.
        None => unsafe { alloc(class_layout(class)) },
    }
}

/// Gives memory back.
///
/// # Safety
///
/// It came from [`allocate`] with this layout, and is not used again.
#[inline]
pub(crate) unsafe fn free(block: NonNull<u8>, layout: Layout) {
    let Some(class) = class_of(layout) else {
        // SAFETY: handed on.
        unsafe { dealloc(block.as_ptr(), layout) };
        return;
    };
    if with_cache(|cache| cache.give(class, block)) != Some(true) {
        // SAFETY: `allocate` asked for this layout.
        unsafe { dealloc(block.as_ptr(), class_layout(class)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_what_it_is_for_and_wastes_less_than_16_bytes() {
        for size in 8..1000 {
            let layout = Layout::from_size_align(size, 8).unwrap();
            let class = class_layout(class_of(layout).unwrap());
            assert!(class.size() >= size && class.size() < size + 16, "{size}");
        }
        assert!(class_of(Layout::from_size_align(64, 64).unwrap()).is_none());
        assert!(class_of(Layout::from_size_align(4096, 8).unwrap()).is_none());
    }
}
