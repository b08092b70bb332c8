//! Where results go: the caller's memory, which may hold nothing yet, and objects that the caller frees.

use std::mem::MaybeUninit;

use super::input::check;
use super::status::{Failure, RealignStatus, Result, guard};

/// A place for one result.
pub(crate) struct Place<'a, T>(&'a mut MaybeUninit<T>);

impl<T> Place<'_, T> {
    pub fn set(self, value: T) {
        self.0.write(value);
    }
}

impl<T> Place<'_, *mut T> {
    /// Hands an object over; the caller frees it.
    pub fn give(self, object: T) {
        self.set(Box::into_raw(Box::new(object)));
    }
}

/// A place that a result must go to.
///
/// # Safety
/// `pointer` is null, or points to memory for a `T` that nobody else reads or writes while `'a` lasts.
pub(crate) unsafe fn place<'a, T>(name: &str, pointer: *mut T) -> Result<Place<'a, T>> {
    // SAFETY: as the caller says.
    let place = unsafe { optional_place(name, pointer)? };
    place.ok_or_else(|| Failure::new(RealignStatus::NullPointer, format!("{name} is null")))
}

/// A place for a result that the caller may not want.
///
/// # Safety
/// As [`place`].
pub(crate) unsafe fn optional_place<'a, T>(name: &str, pointer: *mut T) -> Result<Option<Place<'a, T>>> {
    if pointer.is_null() {
        return Ok(None);
    }
    check(name, pointer, 1)?;
    // SAFETY: not null and aligned; memory that holds nothing yet is a `MaybeUninit`, and the caller answers for the rest.
    Ok(Some(Place(unsafe { &mut *pointer.cast::<MaybeUninit<T>>() })))
}

/// A place for an object, which is null until there is one.
///
/// # Safety
/// As [`place`].
pub(crate) unsafe fn object<'a, T>(pointer: *mut *mut T) -> Result<Place<'a, *mut T>> {
    // SAFETY: as the caller says.
    let place = unsafe { place("out", pointer)? };
    place.0.write(std::ptr::null_mut());
    Ok(place)
}

/// Memory for rows of results.
pub(crate) struct Room<'a, T>(&'a mut [MaybeUninit<T>]);

/// Memory for `len` values.
///
/// # Safety
/// `pointer` is null, or points to memory for `len` values that nobody else reads or writes while `'a` lasts.
pub(crate) unsafe fn room<'a, T: Copy>(name: &str, pointer: *mut T, len: usize) -> Result<Room<'a, T>> {
    check(name, pointer, len)?;
    if pointer.is_null() {
        return Ok(Room(&mut []));
    }
    // SAFETY: checked above, but for what the caller answers for; memory that holds nothing yet is `MaybeUninit`.
    Ok(Room(unsafe { std::slice::from_raw_parts_mut(pointer.cast(), len) }))
}

impl<T: Copy> Room<'_, T> {
    /// Refuses memory that is too short for so many values, before they are computed.
    pub fn check(&self, name: &str, needed: usize) -> Result<()> {
        let (len, enough) = (self.0.len(), self.0.len() >= needed);
        let problem = || format!("{name} has room for {len} values, and {needed} are to go there");
        enough.then_some(()).ok_or_else(|| Failure::new(RealignStatus::Shape, problem()))
    }

    /// Writes values from a place on.
    pub fn write(&mut self, at: usize, values: impl ExactSizeIterator<Item = T>) {
        let room = &mut self.0[at..at + values.len()];
        for (to, value) in room.iter_mut().zip(values) {
            to.write(value);
        }
    }

    /// Checks that there is room for all values, and writes them.
    pub fn fill(mut self, name: &str, values: &[T]) -> Result<()> {
        self.check(name, values.len())?;
        self.write(0, values.iter().copied());
        Ok(())
    }
}

/// Frees an object.
///
/// # Safety
/// `pointer` is null, or is what [`Place::give`] gave and was not freed; nobody uses it any more.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // A destructor that panics is caught; its message is the thread's.
        guard(|| {
            // SAFETY: as the caller says, it came from a box and is freed for the first time.
            drop(unsafe { Box::from_raw(pointer) });
            Ok(())
        });
    }
}
