//! Mean and trace of a row set [spec 1, 2; paper section 4].

use super::ingest::{Ingest, StreamOptions};
use super::rows::{RowSource, tight_bytes};
use crate::device::Device;
use crate::kernels::stats::moments::{self, FRACTION_BITS, Summand, Sums, WINDOW_ROWS};
use crate::{Error, Result, host};

/// Below this a trace is not told from 0: the resolution of the sums, see [`crate::kernels::stats::moments`].
pub const TRACE_RESOLUTION: f64 = 1e-9;

/// Exact sums over a row set. Merging is exact too, so that neither order nor partition matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moments {
    pub(super) rows: u64,
    pub(super) nonzero_rows: u64,
    pub(super) replaced: u64,
    /// What the unit rows' squares lack to `nonzero_rows`, in units of 2⁻⁶⁰.
    pub(super) defect: i128,
    /// Column sums in units of 2⁻⁴⁰, `[d]`.
    pub(super) columns: Vec<i128>,
}

impl Moments {
    /// Of no rows.
    pub fn empty(width: usize) -> Self {
        Moments { rows: 0, nonzero_rows: 0, replaced: 0, defect: 0, columns: vec![0; width] }
    }

    /// d.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// n, zero rows included.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows of norm below 1e-10; they count as zero.
    pub fn zero_rows(&self) -> u64 {
        self.rows - self.nonzero_rows
    }

    /// Values that were not finite and read as 0.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// `E[u]`, `[d]`; zeros if there are no rows. Each component is within 5e-10 of the mean in real numbers.
    pub fn mean(&self) -> Vec<f64> {
        let n = self.rows.max(1) as f64;
        self.columns.iter().map(|&c| c as f64 / f64::from(FRACTION_BITS).exp2() / n).collect()
    }

    /// T = E‖u - E u‖² (population form), never negative; resolution [`TRACE_RESOLUTION`].
    pub fn trace(&self) -> f64 {
        let n = self.rows.max(1) as f64;
        let mean = self.mean();
        let square = (self.nonzero_rows as f64 - self.defect as f64 / 60f64.exp2()) / n;
        (square - host::dot(&mean, &mean)).max(0.0)
    }

    /// Adds another set's sums.
    ///
    /// # Errors
    /// Another width.
    pub fn merge(&mut self, other: &Moments) -> Result<()> {
        if self.width() != other.width() {
            return Err(Error::shape(
                "merge",
                "moments",
                format!("width {}", self.width()),
                format!("width {}", other.width()),
            ));
        }
        let counts = [(self.rows, other.rows), (self.replaced, other.replaced)].map(|(a, b)| a.checked_add(b));
        let [Some(rows), Some(replaced)] = counts else {
            return Err(Error::shape("merge", "moments", "fewer than 2^64 rows in all", "more"));
        };
        (self.rows, self.replaced) = (rows, replaced);
        self.nonzero_rows += other.nonzero_rows;
        self.defect += other.defect;
        self.columns.iter_mut().zip(&other.columns).for_each(|(a, b)| *a += b);
        Ok(())
    }

    fn add(&mut self, sums: &Sums, rows: u64) {
        self.rows += rows;
        self.nonzero_rows += sums.nonzero;
        self.defect += i128::from(sums.defect);
        self.columns.iter_mut().zip(&sums.columns).for_each(|(a, b)| *a += b);
    }
}

/// The moments of `summand`'s rows over a source, in one read.
///
/// # Errors
/// A width that is not the summand's; a NaN or an infinity, unless replaced; a file that cannot be read; a device lost or
/// out of memory.
pub fn measure(
    device: &Device,
    source: &mut dyn RowSource,
    summand: &Summand,
    options: StreamOptions<'_>,
) -> Result<Moments> {
    let width = source.width();
    let mut total = Moments::empty(width);
    let sums = device.buffer("column sums", summand.sums_bytes())?;
    let mut ingest = Ingest::new(device, source, options)?;
    let (mut window_start, mut window) = (0u64, 0u64);
    while let Some(chunk) = ingest.next_chunk()? {
        if window + chunk.rows as u64 > WINDOW_ROWS {
            close_window(device, &mut ingest, (&sums, summand), (window_start, window), &mut total)?;
            (window_start, window) = (chunk.first_row, 0);
        }
        let mut recorder = device.recorder();
        if window == 0 {
            recorder.clear(&sums);
        }
        ingest.record(&chunk, &mut recorder);
        moments::record(&mut recorder, summand, ingest.tensor(&chunk), chunk.rows, (&sums, window))?;
        recorder.submit()?;
        window += chunk.rows as u64;
        ingest.progress(&chunk);
    }
    if window > 0 {
        close_window(device, &mut ingest, (&sums, summand), (window_start, window), &mut total)?;
    }
    total.replaced = ingest.replaced();
    Ok(total)
}

fn close_window(
    device: &Device,
    ingest: &mut Ingest<'_>,
    (buffer, summand): (&crate::device::Buffer, &Summand),
    (start, rows): (u64, u64),
    total: &mut Moments,
) -> Result<()> {
    let sums = Sums::from_bytes(&device.read_blocking(buffer)?, summand)?;
    if let Some(row) = sums.first_bad {
        return Err(ingest.nonfinite_at(start + row));
    }
    total.add(&sums, rows);
    Ok(())
}

/// A source that also keeps every `step`-th row, as unit rows in f64, while it is read.
struct Sampled<'a> {
    inner: &'a mut dyn RowSource,
    step: u64,
    next_row: u64,
    rows: Vec<f64>,
    zero: bool,
}

/// [`measure`] of the unit rows, and a sample of at most `most` unit rows `[m, d]`, evenly spaced.
///
/// # Errors
/// As [`measure`].
pub fn measure_sampled(
    device: &Device,
    source: &mut dyn RowSource,
    most: u64,
    options: StreamOptions<'_>,
) -> Result<(Moments, Vec<f64>)> {
    let summand = Summand::unit_rows(device, source.width())?;
    let step = source.rows().div_ceil(most.max(1)).max(1);
    let zero = options.nonfinite == super::NonFinite::Zero;
    let mut sampled = Sampled { inner: source, step, next_row: 0, rows: Vec::new(), zero };
    let moments = measure(device, &mut sampled, &summand, options)?;
    Ok((moments, sampled.rows))
}

impl RowSource for Sampled<'_> {
    fn rows(&self) -> u64 {
        self.inner.rows()
    }

    fn width(&self) -> usize {
        self.inner.width()
    }

    fn element_type(&self) -> crate::ElementType {
        self.inner.element_type()
    }

    fn rewind(&mut self) -> Result<()> {
        self.next_row = 0;
        self.rows.clear();
        self.inner.rewind()
    }

    fn next(&mut self, most: usize, out: &mut [u8]) -> Result<usize> {
        let rows = self.inner.next(most, out)?;
        let tight = tight_bytes(self.inner);
        let element = self.inner.element_type();
        for i in 0..rows {
            if (self.next_row + i as u64).is_multiple_of(self.step) {
                let bytes = &out[i * tight..(i + 1) * tight];
                let row = bytes.chunks_exact(element.bytes()).map(|e| super::ingest::decode(e, element));
                push_unit(&mut self.rows, row.map(|x| if self.zero && !x.is_finite() { 0.0 } else { x }).collect());
            }
        }
        self.next_row += rows as u64;
        Ok(rows)
    }

    fn locate(&mut self, row: u64, out: &mut [u8]) -> Result<(std::path::PathBuf, u64)> {
        self.inner.locate(row, out)
    }
}

/// Appends the row, normalised as spec 1 says.
fn push_unit(rows: &mut Vec<f64>, row: Vec<f64>) {
    let peak = row.iter().fold(0f64, |m, x| m.max(x.abs()));
    let scale = if peak > 0.0 { peak } else { 1.0 };
    let norm = scale * row.iter().map(|x| (x / scale).powi(2)).sum::<f64>().sqrt();
    let norm = if norm < 1e-10 { 1.0 } else { norm };
    rows.extend(row.iter().map(|x| x / norm));
}
