//! The waker of a task: a counted pointer to its cell.

use super::cell::{Header, settle};
use crate::sync::mutated;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::task::{RawWaker, RawWakerVTable, Waker};

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// A waker that is not counted, for the time of one poll.
///
/// # Safety
///
/// The cell outlives the result and what is borrowed from it.
#[inline]
pub(crate) unsafe fn borrowed(header: NonNull<Header>) -> ManuallyDrop<Waker> {
    // SAFETY: the functions of the vtable keep the contract of `RawWaker`: they are thread-safe and count clones. The
    // borrowed one is never dropped.
    ManuallyDrop::new(unsafe { Waker::new(header.as_ptr().cast_const().cast(), &VTABLE) })
}

/// Whether `waker` wakes the task of this cell.
pub(crate) fn is_of(waker: &Waker, header: NonNull<Header>) -> bool {
    waker.data() == header.as_ptr().cast_const().cast() && std::ptr::eq(waker.vtable(), &VTABLE)
}

/// # Safety
///
/// `data` comes from a `RawWaker` of this module that has not been dropped.
#[inline]
unsafe fn header(data: *const ()) -> NonNull<Header> {
    // SAFETY: it was made from a `NonNull`.
    unsafe { NonNull::new_unchecked(data.cast_mut().cast()) }
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the contract of `RawWaker`.
    let header = unsafe { header(data) };
    // SAFETY: the waker that is cloned keeps the cell.
    unsafe { header.as_ref() }.state.add_waker();
    RawWaker::new(data, &VTABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the contract of `RawWaker`.
    let header = unsafe { header(data) };
    // SAFETY: the waker keeps the cell up to this event, which takes its count.
    let state = unsafe { &header.as_ref().state };
    let action = if mutated("waker-not-given-up") {
        state.wake()
    } else {
        state.wake_by_value()
    };
    // SAFETY: the waker's count is given up.
    unsafe { settle(header, action) };
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the contract of `RawWaker`.
    let header = unsafe { header(data) };
    // SAFETY: the waker keeps the cell.
    let action = unsafe { header.as_ref() }.state.wake();
    // SAFETY: the action is `Enqueue` or nothing.
    unsafe { settle(header, action) };
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the contract of `RawWaker`.
    let header = unsafe { header(data) };
    // SAFETY: the waker keeps the cell up to this event, which takes its count.
    let action = unsafe { header.as_ref() }.state.drop_waker();
    // SAFETY: the waker's count is given up.
    unsafe { settle(header, action) };
}
