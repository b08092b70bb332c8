//! Rankings: what makes scores of several collections comparable.

use std::ffi::c_char;

use realign::rank::{RankOptions, Ranking, SAMPLE_ROWS};
use realign::stats::{MemoryRows, RowSource};

use super::device::RealignDevice;
use super::status::{Result, guard, guard_value};
use super::{RealignStatus, input, output};

/// What is known of several collections, so that a query's scores in all of them come on one scale. It may be shared between threads.
pub struct RealignRanking(Ranking);

/// Rows and the name that they go by.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RealignNamedRows {
    /// Letters, digits, '-' and '_', 64 bytes at most.
    pub name: *const c_char,
    /// Rows, one behind the other.
    pub rows: *const f32,
    /// How many numbers they have in all.
    pub rows_len: usize,
}

/// The sources of some collections.
///
/// # Safety
/// `given` is null or points to so many, whose names are strings and whose rows have their lengths.
unsafe fn sources<'a>(
    name: &str,
    (given, len): (*const RealignNamedRows, usize),
    width: usize,
) -> Result<Vec<(&'a str, MemoryRows<'a>)>> {
    // SAFETY: as the caller says.
    let given = unsafe { input::values(name, given, len)? };
    let mut found = Vec::with_capacity(given.len());
    for (i, RealignNamedRows { name: called, rows, rows_len }) in given.iter().enumerate() {
        // SAFETY: as the caller says.
        let called = unsafe { input::text(&format!("{name}[{i}].name"), *called)? };
        // SAFETY: as the caller says.
        let rows = unsafe { input::values(&format!("{name}[{i}].rows"), *rows, *rows_len)? };
        found.push((called, MemoryRows::f32(called, rows, width)?));
    }
    Ok(found)
}

/// Fits a ranking to the rows of each collection, all of `width` numbers: no pairs, no training. `queries` are rows of each kind of query, or NULL and 0:
/// texts that ask are much like texts that answer, and a kind that is not given takes what is known of the collection of its name. `sample` is how many
/// rows of each are kept at most, 0 for 4096; `seed` says which.
///
/// # Safety
/// `device` is a device; `collections` and `queries` point to so many structs, whose names are strings and whose rows have their lengths; `out` points to
/// a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_ranking_fit(
    device: *const RealignDevice,
    collections: *const RealignNamedRows,
    collections_len: usize,
    queries: *const RealignNamedRows,
    queries_len: usize,
    width: usize,
    sample: usize,
    seed: u64,
    out: *mut *mut RealignRanking,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, device) = unsafe { (output::object(out)?, input::shared("device", device)?) };
        // SAFETY: as this function's caller says.
        let (mut collections, mut queries) = unsafe {
            (
                sources("collections", (collections, collections_len), width)?,
                sources("queries", (queries, queries_len), width)?,
            )
        };
        fn named<'a, 'b>(sources: &'b mut [(&'a str, MemoryRows<'a>)]) -> Vec<(&'a str, &'b mut dyn RowSource)> {
            sources.iter_mut().map(|(name, rows)| (*name, rows as &mut dyn RowSource)).collect()
        }
        let options = RankOptions::default().sample(if sample == 0 { SAMPLE_ROWS } else { sample }).seed(seed);
        let ranking = Ranking::fit(&device.device, &mut named(&mut collections), &mut named(&mut queries), &options)?;
        out.give(RealignRanking(ranking));
        Ok(())
    })
}

/// Reads a file of a ranking, as `realign rank fit` and realign_ranking_save write it.
///
/// # Safety
/// `path` is a string; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_ranking_load(path: *const c_char, out: *mut *mut RealignRanking) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, path) = unsafe { (output::object(out)?, input::path("path", path)?) };
        out.give(RealignRanking(Ranking::load(path)?));
        Ok(())
    })
}

/// Writes a file of a ranking, whole or not at all.
///
/// # Safety
/// `ranking` is a ranking; `path` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_ranking_save(
    ranking: *const RealignRanking,
    path: *const c_char,
    overwrite: bool,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (ranking, path) = unsafe { (input::shared("ranking", ranking)?, input::path("path", path)?) };
        Ok(ranking.0.save(path, overwrite)?)
    })
}

/// Numbers of a row; 0 for NULL.
///
/// # Safety
/// `ranking` is NULL or a ranking.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_ranking_width(ranking: *const RealignRanking) -> usize {
    // SAFETY: as this function's caller says.
    guard_value(0, || unsafe { input::shared("ranking", ranking) }.map_or(0, |r| r.0.width()))
}

/// Scores on the common scale of what one query scored in a collection. `query` is its row, of any length; `raw` are dot products of rows of length 1, as a
/// database returns them, in any order; `out` gets a score for each and has room for `out_len`, `raw_len` at least. A score is `-log10` of the share of the
/// collection that scores as high: 3 is one item in a thousand. The first call for a collection prepares it.
///
/// # Safety
/// `ranking` is a ranking; `query` and `raw` point to so many numbers, `out` to memory for so many; `collection` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_ranking_scores(
    ranking: *const RealignRanking,
    query: *const f32,
    query_len: usize,
    collection: *const c_char,
    raw: *const f32,
    raw_len: usize,
    out: *mut f64,
    out_len: usize,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (ranking, collection) =
            unsafe { (input::shared("ranking", ranking)?, input::text("collection", collection)?) };
        let scores = {
            // SAFETY: as this function's caller says; they are no longer used where the scores are written, which may be where they are.
            let (query, raw) =
                unsafe { (input::values("query", query, query_len)?, input::values("raw", raw, raw_len)?) };
            ranking.0.scores(query, collection, raw)?
        };
        // SAFETY: as this function's caller says.
        unsafe { output::room("out", out, out_len)? }.fill("out", &scores)
    })
}

/// Frees a ranking.
///
/// # Safety
/// `ranking` is NULL or a ranking that is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_ranking_free(ranking: *mut RealignRanking) {
    // SAFETY: as this function's caller says.
    unsafe { output::free(ranking) }
}
