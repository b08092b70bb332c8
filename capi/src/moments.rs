//! Moments: exact sums over rows, which come in any order and merge exactly.

use std::ffi::c_char;

use realign::kernels::stats::moments::Summand;
use realign::stats::{MemoryRows, Moments, StreamOptions, measure};

use super::device::RealignDevice;
use super::status::{Failure, guard, guard_value};
use super::{RealignStatus, input, output};

/// Exact sums over rows: their mean and their trace, whatever the order and however they were cut. One thread at a time may change them; while none
/// does, they may be shared.
pub struct RealignMoments(pub(crate) Moments);

/// The widest rows: far beyond any encoder's.
const MAX_WIDTH: usize = 1 << 20;

/// Moments of no rows yet, which will have `width` numbers each.
///
/// # Safety
/// `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_new(width: usize, out: *mut *mut RealignMoments) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let out = unsafe { output::object(out)? };
        // Their sums are allocated at once, and what cannot be allocated ends the process.
        if !(1..=MAX_WIDTH).contains(&width) {
            return Err(Failure::new(RealignStatus::Shape, format!("rows of {width} numbers; give 1 to {MAX_WIDTH}")));
        }
        out.give(RealignMoments(Moments::empty(width)));
        Ok(())
    })
}

/// Takes in rows, `rows_len` numbers in all. After an error the moments are as they were.
///
/// # Safety
/// `device` is a device; `moments` are moments that no other thread uses meanwhile; `rows` points to so many numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_update(
    device: *const RealignDevice,
    moments: *mut RealignMoments,
    rows: *const f32,
    rows_len: usize,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (device, moments) =
            unsafe { (&input::shared("device", device)?.device, input::exclusive("moments", moments)?) };
        // SAFETY: as this function's caller says.
        let rows = unsafe { input::values("rows", rows, rows_len)? };
        let width = moments.0.width();
        let mut source = MemoryRows::f32("rows", rows, width)?;
        let summand = Summand::unit_rows(device, width)?;
        let more = measure(device, &mut source, &summand, StreamOptions::default())?;
        Ok(moments.0.merge(&more)?)
    })
}

/// Takes in what was counted elsewhere. After an error the moments are as they were.
///
/// # Safety
/// `moments` are moments that no other thread uses meanwhile; `other` are other moments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_merge(
    moments: *mut RealignMoments,
    other: *const RealignMoments,
) -> RealignStatus {
    guard(|| {
        if std::ptr::eq(moments.cast_const(), other) && !other.is_null() {
            return Err(Failure::new(RealignStatus::Argument, "moments and other are the same moments"));
        }
        // SAFETY: as this function's caller says; they are not the same.
        let (moments, other) = unsafe { (input::exclusive("moments", moments)?, input::shared("other", other)?) };
        Ok(moments.0.merge(&other.0)?)
    })
}

/// How many rows were counted; 0 for NULL.
///
/// # Safety
/// `moments` is NULL or moments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_rows(moments: *const RealignMoments) -> u64 {
    // SAFETY: as this function's caller says.
    guard_value(0, || unsafe { input::shared("moments", moments) }.map_or(0, |m| m.0.rows()))
}

/// Numbers of a row; 0 for NULL.
///
/// # Safety
/// `moments` is NULL or moments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_width(moments: *const RealignMoments) -> usize {
    // SAFETY: as this function's caller says.
    guard_value(0, || unsafe { input::shared("moments", moments) }.map_or(0, |m| m.0.width()))
}

/// The mean of the rows brought to length 1, within 5e-10 in each component; zeros without rows. `out` has room for `out_len` numbers, one row's at least.
///
/// # Safety
/// `moments` are moments; `out` points to memory for so many numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_mean(
    moments: *const RealignMoments,
    out: *mut f64,
    out_len: usize,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (moments, room) = unsafe { (input::shared("moments", moments)?, output::room("out", out, out_len)?) };
        room.fill("out", &moments.0.mean())
    })
}

/// The mean square distance of the rows brought to length 1 from their mean, from 0 to 1; NaN for NULL.
///
/// # Safety
/// `moments` is NULL or moments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_trace(moments: *const RealignMoments) -> f64 {
    // SAFETY: as this function's caller says.
    guard_value(f64::NAN, || unsafe { input::shared("moments", moments) }.map_or(f64::NAN, |m| m.0.trace()))
}

/// Writes a file of moments, as `realign stats` does and `realign merge` and `realign fit` read it, whole or not at all.
///
/// # Safety
/// `moments` are moments; `path` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_save(
    moments: *const RealignMoments,
    path: *const c_char,
    overwrite: bool,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (moments, path) = unsafe { (input::shared("moments", moments)?, input::path("path", path)?) };
        Ok(moments.0.save(path, overwrite)?)
    })
}

/// Reads a file of moments.
///
/// # Safety
/// `path` is a string; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_load(path: *const c_char, out: *mut *mut RealignMoments) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, path) = unsafe { (output::object(out)?, input::path("path", path)?) };
        out.give(RealignMoments(Moments::load(path)?));
        Ok(())
    })
}

/// The file's bytes, for those who send moments to another process. `needed` gets their number; they are written where `bytes_len` is enough for them, and
/// with NULL and 0 the call only asks for the number. A buffer that is too short is REALIGN_STATUS_SHAPE.
///
/// # Safety
/// `moments` are moments; `bytes` is NULL or points to memory for `bytes_len` bytes; `needed` points to a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_to_bytes(
    moments: *const RealignMoments,
    bytes: *mut u8,
    bytes_len: usize,
    needed: *mut usize,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (moments, needed) = unsafe { (input::shared("moments", moments)?, output::place("needed", needed)?) };
        let made = moments.0.to_bytes()?;
        needed.set(made.len());
        if bytes.is_null() && bytes_len == 0 {
            return Ok(());
        }
        // SAFETY: as this function's caller says.
        unsafe { output::room("bytes", bytes, bytes_len)? }.fill("bytes", &made)
    })
}

/// Moments from a file's bytes.
///
/// # Safety
/// `bytes` points to so many bytes; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_from_bytes(
    bytes: *const u8,
    bytes_len: usize,
    out: *mut *mut RealignMoments,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, bytes) = unsafe { (output::object(out)?, input::values("bytes", bytes, bytes_len)?) };
        out.give(RealignMoments(Moments::from_bytes(bytes)?));
        Ok(())
    })
}

/// Frees moments.
///
/// # Safety
/// `moments` is NULL or moments that are not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_moments_free(moments: *mut RealignMoments) {
    // SAFETY: as this function's caller says.
    unsafe { output::free(moments) }
}
