//! Moments on disk: a safetensors file.
//!
//! | tensor | type, shape | meaning |
//! | --- | --- | --- |
//! | `sum_high`, `sum_low` | I64 `[d]`, U64 `[d]` | column sums: `(sum_high 2⁶⁴ + sum_low) 2⁻⁴⁰`, exact |
//! | `defect_high`, `defect_low` | I64, U64 `[1]` | what the unit rows' squares lack to `nonzero_rows`, in 2⁻⁶⁰ |
//! | `rows`, `nonzero_rows`, `replaced` | U64 `[1]` | counts |
//! | `mean`, `trace` | F64 `[d]`, F64 `[1]` | what the sums come to, for readers' convenience |
//! | `covariance`, `covariance_mean`, `covariance_error` | | only with a covariance, see [`super::Summary::save`] |
//! | `covariance_sum_high`, `covariance_sum_low` | I64, U64 `[d]` | only with an exact one, whose files have `format_version` 2 |
//! | `covariance_product_high`, `covariance_product_low` | I64, U64 `[d (d + 1) / 2]` | |
//!
//! Moments of rows as an operator moves them ([`moved_moments`](crate::align::moved_moments)) have `format_version` 4 and `sum_rest_high`, `sum_rest_low`, I64 and U64
//! `[d]`: what the sums lack, in 2⁻¹⁰⁰; the metadata's `operator` is a CRC-32 of the operator's vectors. A program that does not know of them must not take these for moments of the rows themselves.
//!
//! Private moments (see [`super::privacy`]) have `format_version` 3, `noise_variance_high` and `noise_variance_low`, I64 and U64 `[1]`, in units of 2⁻⁸⁰, and in the metadata
//! `epsilon` and `delta`; a program that does not know of noise must not read them.
//!
//! The header's metadata has `format` = `realign-moments`, `format_version`, `crate_version`.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::{MAX_COVARIANCE_WIDTH, Moments, Noise, Privacy};
use crate::error::{FileKind, Problem, Remedy};
use crate::io::EncoderId;
use crate::io::source::{self, SourceBytes};
pub(crate) use crate::io::write_atomically;
use crate::kernels::stats::moments::REST_BITS;
use crate::{Error, Result};

pub(super) const FORMAT: &str = "realign-moments";
/// Of moments of moved rows, and of private ones; files of others are as before there were any.
pub(super) const VERSION: u32 = 4;
const VERSION_OF_PRIVATE: u32 = 3;
const VERSION_OF_MOMENTS: u32 = 1;

/// A tensor to be written: name, type, shape, little-endian bytes.
pub(crate) type Entry = (&'static str, Dtype, Vec<usize>, Vec<u8>);

/// Bytes of `values`, little-endian.
pub(crate) fn entry<T: bytemuck::Pod>(name: &'static str, dtype: Dtype, shape: Vec<usize>, values: &[T]) -> Entry {
    (name, dtype, shape, bytemuck::cast_slice(values).to_vec())
}

/// A safetensors file with `format`, its version and the crate's in the metadata, written at once or not at all.
pub(crate) fn write<N: AsRef<str>>(
    path: &Path,
    force: bool,
    format: (&str, u32),
    metadata: &[(&str, String)],
    entries: &[(N, Dtype, Vec<usize>, Vec<u8>)],
) -> Result<()> {
    write_atomically(path, force, &file_bytes(format, metadata, entries)?)
}

/// What errors call bytes that are no file's.
pub(crate) const IN_MEMORY: &str = "in memory";

/// The bytes of such a file.
pub(crate) fn file_bytes<N: AsRef<str>>(
    (format, version): (&str, u32),
    metadata: &[(&str, String)],
    entries: &[(N, Dtype, Vec<usize>, Vec<u8>)],
) -> Result<Vec<u8>> {
    let path = Path::new(IN_MEMORY);
    let mut all: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    all.insert("format".to_owned(), format.to_owned());
    all.insert("format_version".to_owned(), version.to_string());
    all.insert("crate_version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let views = entries.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| Error::format(path, e.to_string()))?;
        Ok((name.as_ref().to_owned(), view))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let mut bytes = serialize(views, Some(all)).map_err(|e| Error::format(path, e.to_string()))?;
    sort_metadata(&mut bytes);
    Ok(bytes)
}

/// Puts the header's keys in order: its map has none, and equal statistics should give equal files.
fn sort_metadata(bytes: &mut Vec<u8>) {
    let Some(length) = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b) as usize) else { return };
    let Some(header) = bytes.get(8..8 + length) else { return };
    // serde_json's map is ordered by key.
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(header) else { return };
    let mut sorted = value.to_string().into_bytes();
    sorted.resize(sorted.len().next_multiple_of(8), b' ');
    let mut out = (sorted.len() as u64).to_le_bytes().to_vec();
    out.extend(sorted);
    out.extend(&bytes[8 + length..]);
    *bytes = out;
}

/// The format that a safetensors file's metadata names; reads no more than its header.
pub(crate) fn format_of(path: &Path) -> Option<String> {
    let mut file = SourceBytes::of_start(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length).min(1 << 20)).read_to_end(&mut header).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    Some(header.get("__metadata__")?.get("format")?.as_str()?.to_owned())
}

/// A statistics file's contents.
pub(crate) struct Contents<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

/// Largest file that is read as statistics: twice what the widest rows need, a matrix of f64 and half of one of 128-bit sums.
const MAX_BYTES: u64 = 2 * 16 * (MAX_COVARIANCE_WIDTH * (MAX_COVARIANCE_WIDTH + 1)) as u64;

/// Reads a whole statistics file.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let length = source::length(path)?;
    if length > MAX_BYTES {
        return Err(Error::format(path, format!("{length} bytes: not a statistics file; make one from rows")));
    }
    source::read_whole(path)
}

/// What files of a format are, and what they hold.
fn kind(format: &str) -> Option<(FileKind, &'static str)> {
    match format {
        FORMAT => Some((FileKind::Moments, "one side's moments")),
        "realign-statistics" => Some((FileKind::Operator, "a fitted operator")),
        "realign-frame" => Some((FileKind::Frame, "a frame")),
        "realign-ranking" => Some((FileKind::Ranking, "a ranking")),
        _ => None,
    }
}

impl<'a> Contents<'a> {
    /// Parses `bytes` and checks format and version.
    pub(crate) fn parse(path: &'a Path, bytes: &'a [u8], (format, version): (&str, u32)) -> Result<Self> {
        let damaged =
            |what: String| Error::format(path, format!("{what}: not a {format} file, or damaged; make it again"));
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let found = metadata.get("format").map_or("another format", String::as_str);
        if found != format {
            let problem = match kind(found) {
                Some((kind, what)) => {
                    Problem::new(format!("is not a {format} file; it holds {what}")).remedy(Remedy::UseAs(kind))
                }
                None => {
                    let problem = Problem::new(format!("is not a {format} file"));
                    kind(format).map_or(problem.clone(), |(kind, _)| problem.remedy(Remedy::Give(kind)))
                }
            };
            return Err(Error::format(path, problem));
        }
        let contents = Contents { path, tensors, metadata };
        let have: u32 = contents.parsed("format_version")?;
        if have > version {
            let problem = format!("format version {have}, this program reads up to {version}; update realign");
            return Err(Error::format(path, problem));
        }
        Ok(contents)
    }

    /// A metadata entry.
    pub(crate) fn text(&self, key: &str) -> Result<&str> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| self.damaged(&format!("no metadata '{key}'")))
    }

    /// The encoder that notes with this prefix name, if they do.
    pub(crate) fn encoder(&self, prefix: &str) -> Option<EncoderId> {
        EncoderId::of_notes(prefix, |name| self.metadata.get(name).map(String::as_str))
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// Refuses a tensor that is not among the known ones: what it says would be left out in silence.
    pub(crate) fn refuse_unknown(&self, known: &[&str]) -> Result<()> {
        match self.tensors.names().into_iter().filter(|name| !known.contains(name)).min() {
            None => Ok(()),
            Some(name) => {
                let problem = format!("tensor '{name}' is none that this program knows; update realign, or remove it");
                Err(Error::format(self.path, problem))
            }
        }
    }

    /// Refuses a tensor of another shape, such as a transpose with as many values.
    pub(crate) fn check_shape(&self, name: &str, want: &[usize]) -> Result<()> {
        match self.tensors.tensor(name) {
            Ok(view) if view.shape() != want => {
                Err(self.damaged(&format!("tensor '{name}' has the shape {:?}, not {want:?}", view.shape())))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(self.damaged(&format!("no tensor '{name}'"))),
        }
    }

    /// A metadata entry as a number or another parsed type.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        self.text(key)?.parse().map_err(|_| self.damaged(&format!("metadata '{key}' is unreadable")))
    }

    /// A tensor's bytes, of elements of this type.
    fn bytes(&self, name: &str, dtype: Dtype) -> Result<&[u8]> {
        let view = self.tensors.tensor(name).map_err(|_| self.damaged(&format!("no tensor '{name}'")))?;
        match view.dtype() == dtype {
            true => Ok(view.data()),
            false => Err(self.damaged(&format!("tensor '{name}' is {:?}, expected {dtype:?}", view.dtype()))),
        }
    }

    /// A tensor's values, of as many bytes as the type has.
    pub(crate) fn values<T: bytemuck::Pod>(&self, name: &str, dtype: Dtype) -> Result<Vec<T>> {
        Ok(self.bytes(name, dtype)?.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
    }

    /// f32 values, all finite.
    pub(crate) fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let view = self.tensors.tensor(name).map_err(|_| self.damaged(&format!("no tensor '{name}'")))?;
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => view.data().chunks_exact(4).map(bytemuck::pod_read_unaligned).collect(),
            other => return Err(self.damaged(&format!("tensor '{name}' is {other:?}, expected F32"))),
        };
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(self.damaged(&format!("tensor '{name}' has {} at {i}", values[i]))),
            None => Ok(values),
        }
    }

    /// f64 values, all finite, of a given number.
    pub(crate) fn finite(&self, name: &str, count: Option<usize>) -> Result<Vec<f64>> {
        let values: Vec<f64> = self.values(name, Dtype::F64)?;
        if let Some(count) = count.filter(|&c| c != values.len()) {
            return Err(self.damaged(&format!("tensor '{name}' has {} values, expected {count}", values.len())));
        }
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(self.damaged(&format!("tensor '{name}' has {} at {i}", values[i]))),
            None => Ok(values),
        }
    }

    /// A single number.
    pub(crate) fn one<T: bytemuck::Pod>(&self, name: &str, dtype: Dtype) -> Result<T> {
        match self.values(name, dtype)?[..] {
            [value] => Ok(value),
            _ => Err(self.damaged(&format!("tensor '{name}' does not hold one number"))),
        }
    }

    /// Integers of 128 bits, written in two.
    pub(crate) fn wide(&self, high: &str, low: &str) -> Result<Vec<i128>> {
        let (high, low): (Vec<i64>, Vec<u64>) = (self.values(high, Dtype::I64)?, self.values(low, Dtype::U64)?);
        if high.len() != low.len() {
            return Err(self.damaged("the sums do not fit each other"));
        }
        Ok(high.iter().zip(&low).map(|(h, l)| (i128::from(*h) << 64) + i128::from(*l)).collect())
    }

    /// What the column sums of moved rows lack; nothing where rows were not moved.
    fn rests(&self, width: usize) -> Result<Vec<i128>> {
        let moved = self.parsed::<u32>("format_version")? == VERSION;
        if moved != self.has("sum_rest_high") {
            return Err(self.damaged("it does not say whether its rows were moved"));
        }
        if !moved {
            return Ok(Vec::new());
        }
        let rests = self.wide("sum_rest_high", "sum_rest_low")?;
        // Less than one unit of the sums.
        let possible = |rest: &i128| (0..1 << REST_BITS).contains(rest);
        if rests.len() != width || !rests.iter().all(possible) {
            return Err(self.damaged("the sums' rests do not fit them"));
        }
        Ok(rests)
    }

    /// What tells the operator that moved the rows from others, where they were moved.
    fn operator(&self, moved: bool) -> Result<Option<u32>> {
        if !moved {
            return Ok(None);
        }
        let operator = u32::from_str_radix(self.text("operator")?, 16);
        operator.map(Some).map_err(|_| self.damaged("metadata 'operator' is unreadable"))
    }

    /// What is said of the noise of private moments.
    fn noise(&self) -> Result<Option<Noise>> {
        if !self.has("noise_variance_low") {
            return match self.parsed::<u32>("format_version")? {
                VERSION_OF_PRIVATE => Err(self.damaged("it does not say what noise it has")),
                _ => Ok(None),
            };
        }
        let [high] = self.wide("noise_variance_high", "noise_variance_low")?[..] else {
            return Err(self.damaged("the noise's variance is no single number"));
        };
        let (epsilon, delta): (f64, f64) = (self.parsed("epsilon")?, self.parsed("delta")?);
        let most = 1i128 << 126;
        if !(0..most).contains(&high) || Privacy::new(epsilon, delta).is_err() {
            return Err(self.damaged("what it says of its noise is impossible"));
        }
        Ok(Some(Noise { epsilon, delta, variance: high.unsigned_abs() }))
    }

    pub(crate) fn damaged(&self, what: &str) -> Error {
        Error::format(self.path, format!("{what}: the file is damaged; make it again from the rows"))
    }
}

/// The upper and the lower 64 bits.
pub(super) fn halves(integers: &[i128]) -> (Vec<i64>, Vec<u64>) {
    (integers.iter().map(|x| (x >> 64) as i64).collect(), integers.iter().map(|x| *x as u64).collect())
}

/// What a file of moments says of the rows' encoder, and of noise.
fn notes_of(moments: &Moments) -> BTreeMap<String, String> {
    let mut notes = moments.encoder.as_ref().map(|encoder| encoder.notes("")).unwrap_or_default();
    if let Some(noise) = &moments.noise {
        notes.insert("epsilon".to_owned(), noise.epsilon.to_string());
        notes.insert("delta".to_owned(), noise.delta.to_string());
    }
    if let Some(operator) = moments.operator {
        notes.insert("operator".to_owned(), format!("{operator:08x}"));
    }
    notes
}

/// The file of moments, of these tensors.
pub(super) fn bytes_of(moments: &Moments, version: u32, entries: &[Entry]) -> Result<Vec<u8>> {
    let encoder = notes_of(moments);
    let notes: Vec<_> = encoder.iter().map(|(name, text)| (&name[..], text.clone())).collect();
    file_bytes((FORMAT, version), &notes, entries)
}

impl Moments {
    /// Writes the file.
    ///
    /// # Errors
    /// The file exists and `force` is not given; it cannot be written.
    pub fn save(&self, path: &Path, force: bool) -> Result<()> {
        write_atomically(path, force, &self.to_bytes()?)
    }

    /// The bytes of the file that [`Self::save`] writes: for another process.
    ///
    /// # Errors
    /// None that data can cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        bytes_of(self, self.version(), &self.entries())
    }

    pub(super) fn version(&self) -> u32 {
        match (self.is_moved(), self.noise.is_some()) {
            (true, _) => VERSION,
            (false, true) => VERSION_OF_PRIVATE,
            (false, false) => VERSION_OF_MOMENTS,
        }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        let d = self.width();
        let (high, low) = halves(&self.columns);
        let one = |name, value: u64| entry(name, Dtype::U64, vec![1], &[value]);
        let mut entries = vec![
            entry("sum_high", Dtype::I64, vec![d], &high),
            entry("sum_low", Dtype::U64, vec![d], &low),
            entry("defect_high", Dtype::I64, vec![1], &[(self.defect >> 64) as i64]),
            one("defect_low", self.defect as u64),
            one("rows", self.rows),
            one("nonzero_rows", self.nonzero_rows),
            one("replaced", self.replaced),
            entry("mean", Dtype::F64, vec![d], &self.mean()),
            entry("trace", Dtype::F64, vec![1], &[self.trace()]),
        ];
        if self.is_moved() {
            let (high, low) = halves(&self.rests);
            entries.push(entry("sum_rest_high", Dtype::I64, vec![d], &high));
            entries.push(entry("sum_rest_low", Dtype::U64, vec![d], &low));
        }
        if let Some(noise) = &self.noise {
            entries.push(entry("noise_variance_high", Dtype::I64, vec![1], &[(noise.variance >> 64) as i64]));
            entries.push(one("noise_variance_low", noise.variance as u64));
        }
        entries
    }

    /// Reads the file; a covariance that it may hold too is left alone.
    ///
    /// # Errors
    /// No moments file, a newer format, or a damaged one.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(path, &read_bytes(path)?)
    }

    /// From the bytes of such a file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(Path::new(IN_MEMORY), bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::read(&Contents::parse(path, bytes, (FORMAT, VERSION))?)
    }

    pub(super) fn read(contents: &Contents<'_>) -> Result<Self> {
        let columns = contents.wide("sum_high", "sum_low")?;
        let one = |name| contents.one::<u64>(name, Dtype::U64);
        let (rows, nonzero_rows) = (one("rows")?, one("nonzero_rows")?);
        let noise = contents.noise()?;
        // No column of unit rows sums to more than their number, and no noise is that far off.
        let slack = noise.map_or(0.0, |noise| 100.0 * noise.standard_deviation()).ceil() as u128;
        let rests = contents.rests(columns.len())?;
        // An operator moves rows of zeros, too.
        let summed = if rests.is_empty() { nonzero_rows } else { rows };
        let possible = |c: &i128| c.unsigned_abs() <= (u128::from(summed) + 1 + slack) << 41;
        if columns.is_empty() || nonzero_rows > rows || !columns.iter().all(possible) {
            return Err(contents.damaged("the sums do not fit each other"));
        }
        let defect =
            (i128::from(contents.one::<i64>("defect_high", Dtype::I64)?) << 64) + i128::from(one("defect_low")?);
        // A unit row's square is 1 but for rounding.
        if defect.unsigned_abs() > (u128::from(summed) + 1 + slack) << 60 {
            return Err(contents.damaged("the squares do not fit the number of rows"));
        }
        let (replaced, encoder) = (one("replaced")?, contents.encoder(""));
        let operator = contents.operator(!rests.is_empty())?;
        Ok(Moments { rows, nonzero_rows, replaced, defect, columns, rests, operator, encoder, noise })
    }

    /// Whether the file says that it holds moments.
    pub fn is_file(path: &Path) -> bool {
        format_of(path).as_deref() == Some(FORMAT)
    }
}
