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
//! Private moments (see [`super::privacy`]) have `format_version` 3, `noise_variance_high` and `noise_variance_low`, I64 and U64 `[1]`, in units of 2⁻⁸⁰, and in the metadata
//! `epsilon` and `delta`; a program that does not know of noise must not read them.
//!
//! The header's metadata has `format` = `realign-moments`, `format_version`, `crate_version`.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use super::{
    Covariance, CovarianceSums, FRACTION_BITS, MAX_COVARIANCE_WIDTH, MAX_ROWS, Moments, Noise, Privacy, SecondMoments,
    Summary,
};
use crate::error::{FileKind, Problem, Remedy};
use crate::io::{EncoderId, write_atomically};
use crate::{Error, Result};

const FORMAT: &str = "realign-moments";
/// Of private moments; files of others are as before there were any.
const VERSION: u32 = 3;
/// Of files with exact second moments; without them files are as before there were any, version 1.
const VERSION_OF_SECOND_MOMENTS: u32 = 2;
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
    (format, version): (&str, u32),
    metadata: &[(&str, String)],
    entries: &[(N, Dtype, Vec<usize>, Vec<u8>)],
) -> Result<()> {
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
    write_atomically(path, force, &bytes)
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
    let mut file = std::fs::File::open(path).ok()?;
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
    let length = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    if length > MAX_BYTES {
        return Err(Error::format(path, format!("{length} bytes: not a statistics file; make one from rows")));
    }
    std::fs::read(path).map_err(Error::io("read", path))
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

    /// A metadata entry as a number or another parsed type.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        self.text(key)?.parse().map_err(|_| self.damaged(&format!("metadata '{key}' is unreadable")))
    }

    /// A tensor's values, of 8-byte elements.
    pub(crate) fn values<T: bytemuck::Pod>(&self, name: &str, dtype: Dtype) -> Result<Vec<T>> {
        let view = self.tensors.tensor(name).map_err(|_| self.damaged(&format!("no tensor '{name}'")))?;
        if view.dtype() != dtype || size_of::<T>() != 8 {
            return Err(self.damaged(&format!("tensor '{name}' is {:?}, expected {dtype:?}", view.dtype())));
        }
        Ok(view.data().chunks_exact(8).map(bytemuck::pod_read_unaligned).collect())
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

    /// What is said of the noise of private moments.
    fn noise(&self) -> Result<Option<Noise>> {
        if !self.has("noise_variance_low") {
            return match self.parsed::<u32>("format_version")? {
                VERSION => Err(self.damaged("it does not say what noise it has")),
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
fn halves(integers: &[i128]) -> (Vec<i64>, Vec<u64>) {
    (integers.iter().map(|x| (x >> 64) as i64).collect(), integers.iter().map(|x| *x as u64).collect())
}

/// What a file of moments says of the rows' encoder, and of noise.
fn notes_of(moments: &Moments) -> BTreeMap<String, String> {
    let mut notes = moments.encoder.as_ref().map(|encoder| encoder.notes("")).unwrap_or_default();
    if let Some(noise) = &moments.noise {
        notes.insert("epsilon".to_owned(), noise.epsilon.to_string());
        notes.insert("delta".to_owned(), noise.delta.to_string());
    }
    notes
}

impl Moments {
    /// Writes the file.
    ///
    /// # Errors
    /// The file exists and `force` is not given; it cannot be written.
    pub fn save(&self, path: &Path, force: bool) -> Result<()> {
        let encoder = notes_of(self);
        let notes: Vec<_> = encoder.iter().map(|(name, text)| (&name[..], text.clone())).collect();
        write(path, force, (FORMAT, self.version()), &notes, &self.entries())
    }

    fn version(&self) -> u32 {
        if self.noise.is_some() { VERSION } else { VERSION_OF_MOMENTS }
    }

    fn entries(&self) -> Vec<Entry> {
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
        let bytes = read_bytes(path)?;
        Self::read(&Contents::parse(path, &bytes, (FORMAT, VERSION))?)
    }

    fn read(contents: &Contents<'_>) -> Result<Self> {
        let columns = contents.wide("sum_high", "sum_low")?;
        let one = |name| contents.one::<u64>(name, Dtype::U64);
        let (rows, nonzero_rows) = (one("rows")?, one("nonzero_rows")?);
        let noise = contents.noise()?;
        // No column of unit rows sums to more than their number, and no noise is that far off.
        let slack = noise.map_or(0.0, |noise| 100.0 * noise.standard_deviation()).ceil() as u128;
        let possible = |c: &i128| c.unsigned_abs() <= (u128::from(nonzero_rows) + 1 + slack) << 41;
        if columns.is_empty() || nonzero_rows > rows || !columns.iter().all(possible) {
            return Err(contents.damaged("the sums do not fit each other"));
        }
        let defect =
            (i128::from(contents.one::<i64>("defect_high", Dtype::I64)?) << 64) + i128::from(one("defect_low")?);
        // A unit row's square is 1 but for rounding.
        if defect.unsigned_abs() > (u128::from(nonzero_rows) + 1 + slack) << 60 {
            return Err(contents.damaged("the squares do not fit the number of rows"));
        }
        let (replaced, encoder) = (one("replaced")?, contents.encoder(""));
        Ok(Moments { rows, nonzero_rows, replaced, defect, columns, encoder, noise })
    }

    /// Whether the file says that it holds moments.
    pub fn is_file(path: &Path) -> bool {
        format_of(path).as_deref() == Some(FORMAT)
    }
}

/// The tensors of a covariance among the moments'.
const COVARIANCE: (&str, &str, Option<&str>) = ("covariance_mean", "covariance", Some("covariance_error"));

/// How far the two means of one file may be apart in a component: exact sums are of rows in fixed point.
const MEAN_SLACK: f64 = 1e-8;

/// How far an element may be, relative to itself, from what the integers beside it come to: another version may have rounded otherwise.
const ROUNDING: f64 = 8.0 * f64::EPSILON;

impl SecondMoments {
    /// Upper and lower 64 bits of the column sums, `[d]`.
    pub(crate) fn columns(&self) -> (Vec<i64>, Vec<u64>) {
        halves(&self.columns)
    }

    /// Upper and lower 64 bits of the products, `[d (d + 1) / 2]`.
    pub(crate) fn products(&self) -> (Vec<i64>, Vec<u64>) {
        halves(&self.products)
    }

    /// From a file's sums, where they can be those of so many unit rows.
    pub(crate) fn from_sums(rows: u64, columns: Vec<i128>, products: Vec<i128>) -> Option<Self> {
        let d = columns.len();
        let most = i128::from(rows.min(MAX_ROWS)) << FRACTION_BITS;
        let fits = |x: &i128, most: i128| x.unsigned_abs() <= most.unsigned_abs();
        let possible = (1..=MAX_COVARIANCE_WIDTH).contains(&d)
            && products.len() == d * (d + 1) / 2
            && (1..=MAX_ROWS).contains(&rows)
            && columns.iter().all(|c| fits(c, most))
            && products.iter().all(|p| fits(p, most << FRACTION_BITS));
        possible.then_some(SecondMoments { rows, columns, products })
    }

    fn entries(&self) -> Vec<Entry> {
        let (sums, products) = (self.columns(), self.products());
        let (d, pairs) = (self.width(), self.products.len());
        vec![
            entry("covariance_sum_high", Dtype::I64, vec![d], &sums.0),
            entry("covariance_sum_low", Dtype::U64, vec![d], &sums.1),
            entry("covariance_product_high", Dtype::I64, vec![pairs], &products.0),
            entry("covariance_product_low", Dtype::U64, vec![pairs], &products.1),
        ]
    }

    /// The sums of a file that has them, whose covariance was read as `found`.
    fn read(contents: &Contents<'_>, found: &Covariance) -> Result<Self> {
        let columns = contents.wide("covariance_sum_high", "covariance_sum_low")?;
        let products = contents.wide("covariance_product_high", "covariance_product_low")?;
        let sums =
            SecondMoments::from_sums(found.count, columns, products).filter(|sums| sums.width() == found.width());
        let sums = sums.ok_or_else(|| contents.damaged("the covariance's sums do not fit each other"))?;
        let exact = sums.covariance();
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= ROUNDING * a.abs();
        let matrices = exact.matrix.iter().zip(&found.matrix);
        if !matrices.chain(exact.mean.iter().zip(&found.mean)).all(near) {
            return Err(contents.damaged("the covariance is not what its sums come to"));
        }
        Ok(sums)
    }
}

impl Summary {
    /// Writes the moments' file, with three more tensors where there is a covariance:
    ///
    /// | tensor | type, shape | meaning |
    /// | --- | --- | --- |
    /// | `covariance` | F64 `[d, d]` | `E[(u - E u)(u - E u)ᵀ]` of the unit rows, 1/n, symmetric to the bit |
    /// | `covariance_mean` | F64 `[d]` | the mean it was taken about, which merging needs to more digits than `mean` has |
    /// | `covariance_error` | F64 `[1]` | its relative error in Frobenius norm at most |
    ///
    /// and four more where it is exact, of which the three are what they come to, for readers' convenience:
    ///
    /// | tensors | type, shape | meaning |
    /// | --- | --- | --- |
    /// | `covariance_sum_high`, `covariance_sum_low` | I64, U64 `[d]` | column sums: `(high 2⁶⁴ + low) 2⁻⁴³` |
    /// | `covariance_product_high`, `covariance_product_low` | I64, U64 `[d (d + 1) / 2]` | `Σ u uᵀ` in 2⁻⁸⁶, its rows from the diagonal on |
    ///
    /// # Errors
    /// The file exists and `force` is not given; it cannot be written.
    pub fn save(&self, path: &Path, force: bool) -> Result<()> {
        let mut entries = self.moments.entries();
        let mut version = self.moments.version();
        if let Some(sums) = &self.covariance {
            let Covariance { mean, matrix, error, .. } = sums.covariance();
            let d = mean.len();
            entries.push(entry("covariance", Dtype::F64, vec![d, d], &matrix));
            entries.push(entry("covariance_mean", Dtype::F64, vec![d], &mean));
            entries.push(entry("covariance_error", Dtype::F64, vec![1], &[error]));
            if let CovarianceSums::Exact(sums) = sums {
                entries.extend(sums.entries());
                version = version.max(VERSION_OF_SECOND_MOMENTS);
            }
        }
        let encoder = notes_of(&self.moments);
        let notes: Vec<_> = encoder.iter().map(|(name, text)| (&name[..], text.clone())).collect();
        write(path, force, (FORMAT, version), &notes, &entries)
    }

    /// Reads a moments file, with its covariance if it has one.
    ///
    /// # Errors
    /// No moments file, a newer format, or a damaged one: a covariance that does not fit the moments is an error.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let contents = Contents::parse(path, &bytes, (FORMAT, VERSION))?;
        let moments = Moments::read(&contents)?;
        if !contents.has(COVARIANCE.1) {
            return Ok(Summary { moments, covariance: None });
        }
        let covariance = Covariance::read(&contents, moments.rows, COVARIANCE)?;
        let (mean, trace) = (moments.mean(), moments.trace());
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= MEAN_SLACK;
        // The trace's error is the matrix's in Frobenius norm times the root of d at most.
        let slack = covariance.error * (mean.len() as f64).sqrt() * trace + 1e-8;
        let traces_fit = (covariance.trace() - trace).abs() <= slack;
        if covariance.width() != mean.len() || !covariance.mean.iter().zip(&mean).all(near) || !traces_fit {
            return Err(contents.damaged("the covariance does not fit the sums"));
        }
        let covariance = match contents.has("covariance_product_high") {
            true => CovarianceSums::Exact(SecondMoments::read(&contents, &covariance)?),
            false => CovarianceSums::Rounded(covariance),
        };
        Ok(Summary { moments, covariance: Some(covariance) })
    }
}
