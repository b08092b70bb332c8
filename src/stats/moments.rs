//! Mean and trace of a row set [spec 1, 2; paper section 4].

use super::Noise;
use super::ingest::{Ingest, StreamOptions};
use super::rows::{RowSource, tight_bytes};
use crate::device::Device;
use crate::io::EncoderId;
use crate::kernels::stats::moments::{self, FRACTION_BITS, REST_BITS, Summand, Sums, WINDOW_ROWS};
use crate::{Error, Result, host};

/// Below this a trace is not told from 0: the resolution of the sums, see [`crate::kernels::stats::moments`].
pub const TRACE_RESOLUTION: f64 = 1e-9;

/// ε of ReAlign's scale.
const SCALE_EPSILON: f64 = 1e-10;

/// s = √(T_x / (T_y + 1e-10)), which brings the source's trace T_y to the target's T_x [spec 2].
pub(crate) fn trace_scale(source: f64, target: f64) -> f64 {
    (target / (source + SCALE_EPSILON)).sqrt()
}

/// Exact sums over a row set. Merging is exact too, so that neither order nor partition matters.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    pub(super) rows: u64,
    pub(super) nonzero_rows: u64,
    pub(super) replaced: u64,
    /// What the unit rows' squares lack to `nonzero_rows`, in units of 2⁻⁶⁰.
    pub(super) defect: i128,
    /// Column sums in units of 2⁻⁴⁰, `[d]`.
    pub(super) columns: Vec<i128>,
    /// Of rows as an operator moves them: what the column sums lack, in units of 2⁻¹⁰⁰ and less than 2⁶⁰ of them, `[d]`; empty of unit rows.
    pub(super) rests: Vec<i128>,
    /// What tells that operator from others; `None` of unit rows.
    pub(super) operator: Option<u32>,
    /// Who made the rows, as far as their files said it.
    pub(super) encoder: Option<EncoderId>,
    /// Of [`Moments::private`].
    pub(super) noise: Option<Noise>,
}

impl Moments {
    /// Of no rows.
    pub fn empty(width: usize) -> Self {
        let columns = vec![0; width];
        let (rests, operator, encoder) = (Vec::new(), None, None);
        Moments { rows: 0, nonzero_rows: 0, replaced: 0, defect: 0, columns, rests, operator, encoder, noise: None }
    }

    /// d.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// n, zero rows included.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows of norm below 1e-10; they count as zero. Private moments do not tell: 0.
    pub fn zero_rows(&self) -> u64 {
        self.rows - self.nonzero_rows
    }

    /// Values that were not finite and read as 0.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The encoder that made the rows, where their files said it and no other beside it.
    pub fn encoder(&self) -> Option<&EncoderId> {
        self.encoder.as_ref().filter(|encoder| !encoder.is_several())
    }

    /// The noise of private moments.
    pub fn noise(&self) -> Option<&Noise> {
        self.noise.as_ref()
    }

    /// The variance that the noise of private moments gives each component of the mean; 0 without.
    pub fn variance_of_mean(&self) -> f64 {
        let n = self.rows.max(1) as f64;
        self.noise.map_or(0.0, |noise| noise.variance() / (n * n))
    }

    /// `E[u]`, `[d]`; zeros if there are no rows. Each component is within 5e-10 of the mean in real numbers.
    pub fn mean(&self) -> Vec<f64> {
        let n = self.rows.max(1) as f64;
        let rest = |j: usize| self.rests.get(j).map_or(0, |rest| rest >> (REST_BITS - 1));
        let sums = self.columns.iter().enumerate().map(|(j, c)| c + rest(j));
        sums.map(|sum| sum as f64 / f64::from(FRACTION_BITS).exp2() / n).collect()
    }

    /// T = E‖u - E u‖² (population form), never negative; resolution [`TRACE_RESOLUTION`]. Of private moments an estimate without the noise's
    /// own part, from 0 to 1.
    pub fn trace(&self) -> f64 {
        let n = self.rows.max(1) as f64;
        let mean = self.mean();
        let square = (self.nonzero_rows as f64 - self.defect as f64 / 60f64.exp2()) / n;
        let of_noise = self.width() as f64 * self.variance_of_mean();
        let trace = (square - (host::dot(&mean, &mean) - of_noise)).max(0.0);
        // No unit rows have more; noise may.
        if self.noise.is_some() { trace.min(1.0) } else { trace }
    }

    /// Adds another set's sums.
    ///
    /// # Errors
    /// Another width; more than 2⁶⁴ rows; private moments and others; rows that an operator moved and others, or another operator did.
    pub fn merge(&mut self, other: &Moments) -> Result<()> {
        if self.width() != other.width() {
            return Err(Error::shape(
                "merge",
                "moments",
                format!("width {}", self.width()),
                format!("width {}", other.width()),
            ));
        }
        let noise = self.merged_noise(other)?;
        if self.is_moved() != other.is_moved() && self.rows > 0 && other.rows > 0 {
            let problem = "some parts are of rows that an operator moved, and others of rows as they are; they have no mean in common";
            return Err(Error::argument("merge", problem));
        }
        if self.operator.zip(other.operator).is_some_and(|(a, b)| a != b) {
            let problem = "the parts are of rows that different operators moved; count all of them with one operator";
            return Err(Error::argument("merge", problem));
        }
        let counts = [(self.rows, other.rows), (self.replaced, other.replaced)].map(|(a, b)| a.checked_add(b));
        let [Some(rows), Some(replaced)] = counts else {
            return Err(Error::shape("merge", "moments", "fewer than 2^64 rows in all", "more"));
        };
        (self.rows, self.replaced, self.noise) = (rows, replaced, noise);
        self.encoder = EncoderId::of_both(self.encoder.take(), other.encoder.clone());
        self.operator = self.operator.or(other.operator);
        self.nonzero_rows += other.nonzero_rows;
        self.defect += other.defect;
        self.columns.iter_mut().zip(&other.columns).for_each(|(a, b)| *a += b);
        self.add_rests(&other.rests);
        Ok(())
    }

    /// Whether these are of rows as an operator moves them ([`moved_moments`](crate::align::moved_moments)).
    pub fn is_moved(&self) -> bool {
        !self.rests.is_empty()
    }

    /// What tells the operator that moved the rows from others.
    pub(crate) fn operator(&self) -> Option<u32> {
        self.operator
    }

    /// The same moments, of rows that this operator moved.
    pub(crate) fn moved_by(mut self, operator: u32) -> Self {
        self.operator = self.is_moved().then_some(operator);
        self
    }

    /// Adds what column sums lacked, and carries: rests stay below a unit of the sums.
    fn add_rests(&mut self, rests: &[i128]) {
        self.rests.resize(self.rests.len().max(rests.len()), 0);
        for ((column, rest), more) in self.columns.iter_mut().zip(&mut self.rests).zip(rests) {
            *rest += more;
            *column += *rest >> REST_BITS;
            *rest &= (1 << REST_BITS) - 1;
        }
    }

    fn add(&mut self, sums: &Sums, rows: u64) {
        self.rows += rows;
        self.nonzero_rows += sums.nonzero;
        self.defect += i128::from(sums.defect);
        self.columns.iter_mut().zip(&sums.columns).for_each(|(a, b)| *a += b);
        self.add_rests(&sums.rests);
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
    measure_in_windows(device, source, summand, options, WINDOW_ROWS)
}

/// [`measure`], with the sums read after every `window_rows` rows at most.
fn measure_in_windows(
    device: &Device,
    source: &mut dyn RowSource,
    summand: &Summand,
    options: StreamOptions<'_>,
    window_rows: u64,
) -> Result<Moments> {
    let mut total = Moments { encoder: source.encoder(), ..Moments::empty(source.width()) };
    let sums = device.buffer("column sums", summand.sums_bytes())?;
    let mut ingest = Ingest::in_windows(device, source, options, window_rows)?;
    // The rows whose sums are on the device.
    let mut window = 0..0;
    while let Some(chunk) = ingest.next_chunk()? {
        let mut recorder = device.recorder();
        if chunk.window_row == 0 {
            close_window(device, &mut ingest, (&sums, summand), &window, &mut total)?;
            window = chunk.first_row..chunk.first_row;
            recorder.clear(&sums);
        }
        ingest.record(&chunk, &mut recorder);
        moments::record(&mut recorder, summand, ingest.tensor(&chunk), chunk.rows, (&sums, chunk.window_row))?;
        recorder.submit()?;
        window.end += chunk.rows as u64;
        ingest.progress(&chunk);
    }
    close_window(device, &mut ingest, (&sums, summand), &window, &mut total)?;
    total.replaced = ingest.replaced();
    Ok(total)
}

/// Adds a window's sums, if it has rows.
fn close_window(
    device: &Device,
    ingest: &mut Ingest<'_>,
    (buffer, summand): (&crate::device::Buffer, &Summand),
    window: &std::ops::Range<u64>,
    total: &mut Moments,
) -> Result<()> {
    if window.is_empty() {
        return Ok(());
    }
    let sums = Sums::from_bytes(&device.read_blocking(buffer)?, summand)?;
    if let Some(row) = sums.first_bad {
        return Err(ingest.nonfinite_at(window.start + row));
    }
    total.add(&sums, window.end - window.start);
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

    fn encoder(&self) -> Option<EncoderId> {
        self.inner.encoder()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ElementType;
    use crate::stats::{MemoryRows, NonFinite};

    const WIDTH: usize = 3;

    fn rows(n: usize) -> Vec<f32> {
        (0..n * WIDTH).map(|i| (i * 7919 % 101) as f32 - 50.0).collect()
    }

    fn count(rows: &[f32], chunk: usize, window: u64, nonfinite: NonFinite) -> Result<Moments> {
        let device = Device::host();
        let summand = Summand::unit_rows(&device, WIDTH)?;
        let mut source = MemoryRows::f32("rows", rows, WIDTH)?;
        let options = StreamOptions { chunk_rows: Some(chunk), nonfinite, ..Default::default() };
        measure_in_windows(&device, &mut source, &summand, options, window)
    }

    #[test]
    fn chunks_and_windows_do_not_matter() {
        for n in [1, 7, 16, 100] {
            let data = rows(n);
            let whole = count(&data, n, WINDOW_ROWS, NonFinite::Error).unwrap();
            assert_eq!(whole.rows(), n as u64);
            for (chunk, window) in [(100, 7), (1000, 1), (8, 8), (8, 7), (3, 7), (3, 8), (1, 5), (99, 100), (100, 99)] {
                let cut = count(&data, chunk, window, NonFinite::Error).unwrap();
                assert_eq!(cut, whole, "{n} rows, chunks of {chunk}, windows of {window}");
            }
        }
    }

    #[test]
    fn bad_rows_are_found_in_any_window() {
        for bad in [0, 6, 7, 50, 99] {
            let mut data = rows(100);
            data[bad * WIDTH + 1] = f32::NAN;
            for (chunk, window) in [(100, 7), (3, 7), (1, 1), (16, 64)] {
                let error = count(&data, chunk, window, NonFinite::Error).unwrap_err();
                let found = matches!(error, Error::NonFinite { row, column: 1, .. } if row == bad as u64);
                assert!(found, "row {bad}, chunks of {chunk}, windows of {window}: {error}");
                assert_eq!(count(&data, chunk, window, NonFinite::Zero).unwrap().replaced(), 1);
            }
        }
    }

    /// A source that gives fewer rows than it is asked for, as files at their ends do.
    struct Short<'a>(MemoryRows<'a>);

    impl RowSource for Short<'_> {
        fn rows(&self) -> u64 {
            self.0.rows()
        }

        fn width(&self) -> usize {
            self.0.width()
        }

        fn element_type(&self) -> ElementType {
            self.0.element_type()
        }

        fn rewind(&mut self) -> Result<()> {
            self.0.rewind()
        }

        fn next(&mut self, most: usize, out: &mut [u8]) -> Result<usize> {
            self.0.next(most.min(5), out)
        }

        fn locate(&mut self, row: u64, out: &mut [u8]) -> Result<(std::path::PathBuf, u64)> {
            self.0.locate(row, out)
        }
    }

    #[test]
    fn no_chunk_passes_the_end_of_its_window() {
        let data = rows(100);
        for (chunk, window) in [(100, 7), (3, 7), (8, 8), (64, 1), (16, 100)] {
            let mut source = Short(MemoryRows::f32("rows", &data, WIDTH).unwrap());
            let options = StreamOptions { chunk_rows: Some(chunk), ..Default::default() };
            let device = Device::host();
            let mut ingest = Ingest::in_windows(&device, &mut source, options, window).unwrap();
            let (mut next, mut inside) = (0, 0);
            while let Some(chunk) = ingest.next_chunk().unwrap() {
                assert_eq!(chunk.first_row, next);
                assert!(chunk.window_row == 0 || chunk.window_row == inside, "a window goes on where it was");
                inside = chunk.window_row + chunk.rows as u64;
                assert!(inside <= window, "chunk {chunk:?} passes a window of {window}");
                next += chunk.rows as u64;
            }
            assert_eq!(next, 100);
        }
    }
}
