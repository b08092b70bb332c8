//! What a caller hands over, checked as far as it can be: pointers, lengths, strings.

use std::ffi::{CStr, c_char};
use std::path::Path;

use super::status::{Failure, RealignStatus, Result};

/// An error about a null pointer.
fn null(name: &str) -> Failure {
    Failure::new(RealignStatus::NullPointer, format!("{name} is null"))
}

/// Checks a pointer to so many values: not null where there are any, aligned, and of a size that memory can have.
pub(crate) fn check<T>(name: &str, pointer: *const T, len: usize) -> Result<()> {
    if pointer.is_null() {
        return if len == 0 { Ok(()) } else { Err(null(name)) };
    }
    if !pointer.is_aligned() {
        let problem = format!("{name} is not aligned to {} bytes, as its type is", align_of::<T>());
        return Err(Failure::new(RealignStatus::Argument, problem));
    }
    let possible = len.checked_mul(size_of::<T>()).is_some_and(|bytes| isize::try_from(bytes).is_ok());
    possible.then_some(()).ok_or_else(|| {
        Failure::new(RealignStatus::Shape, format!("{name} cannot hold {len} values: no memory is that large"))
    })
}

/// The values behind a pointer; none where `len` is 0.
///
/// # Safety
/// `pointer` is null, or points to `len` values that nobody writes while `'a` lasts.
pub(crate) unsafe fn values<'a, T>(name: &str, pointer: *const T, len: usize) -> Result<&'a [T]> {
    check(name, pointer, len)?;
    if pointer.is_null() {
        return Ok(&[]);
    }
    // SAFETY: checked above, but for what the caller answers for: that so many values are there, and nobody writes them.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// What an object's pointer points to.
///
/// # Safety
/// `pointer` is null, or points to a `T` that nobody writes or frees while `'a` lasts.
pub(crate) unsafe fn shared<'a, T>(name: &str, pointer: *const T) -> Result<&'a T> {
    if pointer.is_null() {
        return Err(null(name));
    }
    check(name, pointer, 1)?;
    // SAFETY: not null and aligned; the caller answers for the rest.
    Ok(unsafe { &*pointer })
}

/// As [`shared`], for an object that may be left out.
///
/// # Safety
/// As [`shared`].
pub(crate) unsafe fn optional<'a, T>(name: &str, pointer: *const T) -> Result<Option<&'a T>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller says.
    unsafe { shared(name, pointer) }.map(Some)
}

/// What an object's pointer points to, to be changed.
///
/// # Safety
/// `pointer` is null, or points to a `T` that nobody else reads, writes or frees while `'a` lasts.
pub(crate) unsafe fn exclusive<'a, T>(name: &str, pointer: *mut T) -> Result<&'a mut T> {
    if pointer.is_null() {
        return Err(null(name));
    }
    check(name, pointer, 1)?;
    // SAFETY: not null and aligned; the caller answers for the rest.
    Ok(unsafe { &mut *pointer })
}

/// A string.
///
/// # Safety
/// `pointer` is null, or points to a string with its NUL that nobody writes while `'a` lasts.
pub(crate) unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not null; the caller answers for the NUL.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    bytes.to_str().map_err(|e| {
        let problem = format!("{name} is not UTF-8: byte {} is wrong", e.valid_up_to());
        Failure::new(RealignStatus::Utf8, problem)
    })
}

/// A string that may be left out.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn optional_text<'a>(name: &str, pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller says.
    unsafe { text(name, pointer) }.map(Some)
}

/// A path, UTF-8 on every system.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn path<'a>(name: &str, pointer: *const c_char) -> Result<&'a Path> {
    // SAFETY: as the caller says.
    unsafe { text(name, pointer) }.map(Path::new)
}

/// An array of strings.
///
/// # Safety
/// `pointer` is null, or points to `len` pointers, each as [`text`] has it.
pub(crate) unsafe fn texts<'a>(name: &str, pointer: *const *const c_char, len: usize) -> Result<Vec<&'a str>> {
    // SAFETY: as the caller says.
    let pointers = unsafe { values(name, pointer, len)? };
    let one = |(i, pointer): (usize, &*const c_char)| {
        // SAFETY: as the caller says of each.
        unsafe { text(&format!("{name}[{i}]"), *pointer) }
    };
    pointers.iter().enumerate().map(one).collect()
}

/// An optional text parsed, its default where it is left out.
pub(crate) fn parsed<T: std::str::FromStr<Err = String> + Default>(name: &str, text: Option<&str>) -> Result<T> {
    match text {
        None => Ok(T::default()),
        Some(text) => {
            text.parse().map_err(|problem| Failure::new(RealignStatus::Argument, format!("{name}: {problem}")))
        }
    }
}
