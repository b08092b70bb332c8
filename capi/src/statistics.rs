//! Statistics: fitted, loaded, saved, applied to rows.

use std::ffi::{CString, c_char};
use std::ops::Range;
use std::path::Path;
use std::ptr;

use realign::ElementType;
use realign::align::{FitOptions, Statistics, apply, apply_rows, fit, fit_moments};
use realign::stats::{MemoryRows, StreamOptions};

use super::device::RealignDevice;
use super::moments::RealignMoments;
use super::output::Room;
use super::status::{Failure, Result, c_string, guard, guard_value};
use super::{RealignStatus, input, output};

/// A fitted operator: what moves text embeddings into the cloud of images. It may be shared between threads.
pub struct RealignStatistics {
    statistics: Statistics,
    method: CString,
}

/// How statistics are fitted. All zeros, or NULL for the whole, are the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RealignFitOptions {
    /// "realign" (the default, NULL), "mean-shift", "anchor-trace", "c3", "blockwise", "ot", "anisoalign", "ridge" and so on: the names of the command line's
    /// --method.
    pub method: *const c_char,
    /// How ReAlign's centroid step is done: a number of times, "1" (the default, NULL) to "8", or "exact".
    pub centroid: *const c_char,
    /// Seed of what is random: C3's noise, AnisoAlign's planes.
    pub seed: u64,
    /// Row i of the source is the partner of row i of the target: for "ridge", which is fitted to pairs.
    pub paired: bool,
    /// Accept one row, or rows that are all equal, with the published script's result.
    pub allow_degenerate: bool,
}

/// The library's options.
///
/// # Safety
/// `options` is null or points to options whose strings are null or strings.
unsafe fn fit_options<'a>(options: *const RealignFitOptions) -> Result<FitOptions<'a>> {
    // SAFETY: as the caller says.
    let Some(options) = (unsafe { input::optional("options", options)? }) else { return Ok(FitOptions::default()) };
    // SAFETY: as the caller says.
    let names = unsafe {
        (input::optional_text("method", options.method)?, input::optional_text("centroid", options.centroid)?)
    };
    let found = FitOptions::default()
        .method(input::parsed("method", names.0)?)
        .centroid(input::parsed("centroid", names.1)?)
        .seed(options.seed)
        .paired(options.paired)
        .allow_degenerate(options.allow_degenerate);
    Ok(found)
}

impl RealignStatistics {
    fn new(statistics: Statistics) -> Self {
        let method = c_string(statistics.method.name());
        RealignStatistics { statistics, method }
    }
}

/// Fits statistics that map rows like `source` (texts) into the cloud of rows like `target` (images). Both are rows of `width` numbers, one behind
/// the other; they need not be pairs, nor as many. `source_len` and `target_len` count numbers, not rows.
///
/// # Safety
/// `device` is a device; `source` and `target` point to so many numbers; `options` is NULL or points to options; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_fit(
    device: *const RealignDevice,
    source: *const f32,
    source_len: usize,
    target: *const f32,
    target_len: usize,
    width: usize,
    options: *const RealignFitOptions,
    out: *mut *mut RealignStatistics,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, device, options) =
            unsafe { (output::object(out)?, input::shared("device", device)?, fit_options(options)?) };
        // SAFETY: as this function's caller says.
        let (source, target) =
            unsafe { (input::values("source", source, source_len)?, input::values("target", target, target_len)?) };
        let (mut source, mut target) =
            (MemoryRows::f32("source", source, width)?, MemoryRows::f32("target", target, width)?);
        out.give(RealignStatistics::new(fit(&device.device, &mut source, &mut target, &options)?));
        Ok(())
    })
}

/// Fits statistics to moments of both sides, which may have been counted elsewhere. ReAlign's centroid step needs the source's rows once more: give those
/// that were counted, or choose a method without it, such as "anchor-trace", and NULL and 0 for the rows.
///
/// # Safety
/// `device` is a device, `source` and `target` are moments; `source_rows` is NULL or points to so many numbers; `options` is NULL or points to options; `out`
/// points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_fit_moments(
    device: *const RealignDevice,
    source: *const RealignMoments,
    target: *const RealignMoments,
    source_rows: *const f32,
    source_rows_len: usize,
    options: *const RealignFitOptions,
    out: *mut *mut RealignStatistics,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, device, options) =
            unsafe { (output::object(out)?, input::shared("device", device)?, fit_options(options)?) };
        // SAFETY: as this function's caller says.
        let (source, target) = unsafe { (input::shared("source", source)?, input::shared("target", target)?) };
        // SAFETY: as this function's caller says.
        let rows = unsafe { input::values("source_rows", source_rows, source_rows_len)? };
        let mut rows = MemoryRows::f32("source_rows", rows, source.0.width())?;
        let rows = (!source_rows.is_null()).then_some(&mut rows as &mut dyn realign::stats::RowSource);
        let fitted = fit_moments(&device.device, (&source.0, &target.0), rows, &options)?;
        out.give(RealignStatistics::new(fitted));
        Ok(())
    })
}

/// Reads a file of statistics, as `realign fit` and realign_statistics_save write it.
///
/// # Safety
/// `path` is a string; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_load(
    path: *const c_char,
    out: *mut *mut RealignStatistics,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, path): (_, &Path) = unsafe { (output::object(out)?, input::path("path", path)?) };
        out.give(RealignStatistics::new(Statistics::load(path)?));
        Ok(())
    })
}

/// Writes a file of statistics, whole or not at all.
///
/// # Safety
/// `statistics` are statistics; `path` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_save(
    statistics: *const RealignStatistics,
    path: *const c_char,
    overwrite: bool,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (statistics, path) = unsafe { (input::shared("statistics", statistics)?, input::path("path", path)?) };
        Ok(statistics.statistics.save(path, overwrite)?)
    })
}

/// Numbers of a row; 0 for NULL.
///
/// # Safety
/// `statistics` is NULL or statistics.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_width(statistics: *const RealignStatistics) -> usize {
    // SAFETY: as this function's caller says.
    guard_value(0, || unsafe { input::shared("statistics", statistics) }.map_or(0, |s| s.statistics.width()))
}

/// The method's name, such as "realign"; it lives as long as the statistics. NULL for NULL.
///
/// # Safety
/// `statistics` is NULL or statistics.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_method(statistics: *const RealignStatistics) -> *const c_char {
    guard_value(ptr::null(), || {
        // SAFETY: as this function's caller says.
        unsafe { input::shared("statistics", statistics) }.map_or(ptr::null(), |s| s.method.as_ptr())
    })
}

/// The distance between both sides' means before alignment; NaN for NULL.
///
/// # Safety
/// `statistics` is NULL or statistics.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_gap(statistics: *const RealignStatistics) -> f64 {
    guard_value(f64::NAN, || {
        // SAFETY: as this function's caller says.
        unsafe { input::shared("statistics", statistics) }.map_or(f64::NAN, |s| s.statistics.gap())
    })
}

/// Aligns rows in place: `rows_len` numbers, rows of realign_statistics_width() one behind the other. After an error the rows are as they were.
///
/// # Safety
/// `device` is a device, `statistics` are statistics; `rows` points to so many numbers, which no other thread reads or writes meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_apply(
    device: *const RealignDevice,
    statistics: *const RealignStatistics,
    rows: *mut f32,
    rows_len: usize,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (device, statistics) =
            unsafe { (input::shared("device", device)?, input::shared("statistics", statistics)?) };
        let aligned = {
            // SAFETY: as this function's caller says; it is no longer used where the aligned rows are written.
            let given = unsafe { input::values("rows", rows.cast_const(), rows_len)? };
            apply_rows(&device.device, &statistics.statistics, given, statistics.statistics.width())?
        };
        // SAFETY: as this function's caller says.
        unsafe { output::room("rows", rows, rows_len)? }.fill("rows", &aligned)
    })
}

/// The addresses of so many numbers.
fn addresses(pointer: *const f32, len: usize) -> Range<usize> {
    let first = pointer.addr();
    first..first.saturating_add(len.saturating_mul(size_of::<f32>()))
}

/// Streams the rows through the operator, into memory that is elsewhere.
fn apply_into(device: &RealignDevice, statistics: &Statistics, rows: &[f32], room: &mut Room<'_, f32>) -> Result<()> {
    room.check("out", rows.len())?;
    let mut source = MemoryRows::f32("rows", rows, statistics.width())?;
    let mut at = 0;
    let mut sink = |bytes: &[u8], _rows: usize| {
        let numbers = bytes.as_chunks::<4>().0;
        room.write(at, numbers.iter().map(|e| f32::from_le_bytes(*e)));
        at += numbers.len();
        Ok(())
    };
    let options = StreamOptions::default();
    apply(&device.device, &*statistics.aligner(), &mut source, ElementType::F32, options, &mut sink)?;
    Ok(())
}

/// Aligns rows into another buffer, which has room for `out_len` numbers, `rows_len` at least; both may not overlap. After an error it holds anything.
///
/// # Safety
/// `device` is a device, `statistics` are statistics; `rows` points to so many numbers, `out` to memory for so many, which no other thread reads or
/// writes meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_apply_to(
    device: *const RealignDevice,
    statistics: *const RealignStatistics,
    rows: *const f32,
    rows_len: usize,
    out: *mut f32,
    out_len: usize,
) -> RealignStatus {
    guard(|| {
        input::check("rows", rows, rows_len)?;
        input::check("out", out.cast_const(), out_len)?;
        let (from, to) = (addresses(rows, rows_len), addresses(out, out_len));
        if from.start < to.end && to.start < from.end {
            let problem = "rows and out overlap; realign_statistics_apply aligns rows in place";
            return Err(Failure::new(RealignStatus::Argument, problem));
        }
        // SAFETY: as this function's caller says.
        let (device, statistics) =
            unsafe { (input::shared("device", device)?, input::shared("statistics", statistics)?) };
        // SAFETY: as this function's caller says; they do not overlap.
        let (rows, mut room) = unsafe { (input::values("rows", rows, rows_len)?, output::room("out", out, out_len)?) };
        apply_into(device, &statistics.statistics, rows, &mut room)
    })
}

/// Frees statistics.
///
/// # Safety
/// `statistics` is NULL or statistics that are not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_statistics_free(statistics: *mut RealignStatistics) {
    // SAFETY: as this function's caller says.
    unsafe { output::free(statistics) }
}
