//! A covariance beside the moments, in one file: the tensors are listed in [`super::file`].

use std::path::Path;

use safetensors::tensor::Dtype;

use super::file::{Contents, Entry, FORMAT, IN_MEMORY, VERSION, bytes_of, entry, halves, read_bytes};
use super::{
    Covariance, CovarianceSums, FRACTION_BITS, MAX_COVARIANCE_WIDTH, MAX_ROWS, Moments, SecondMoments, Summary,
};
use crate::Result;
use crate::io::write_atomically;

/// Of files with exact second moments; without them files are as before there were any, version 1.
const VERSION_OF_SECOND_MOMENTS: u32 = 2;

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
        write_atomically(path, force, &self.to_bytes()?)
    }

    /// The bytes of the file that [`Self::save`] writes: for another process.
    ///
    /// # Errors
    /// None that data can cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
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
        bytes_of(&self.moments, version, &entries)
    }

    /// Reads a moments file, with its covariance if it has one.
    ///
    /// # Errors
    /// No moments file, a newer format, or a damaged one: a covariance that does not fit the moments is an error.
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
        let contents = Contents::parse(path, bytes, (FORMAT, VERSION))?;
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
