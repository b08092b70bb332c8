//! How many rows does a fit need, and does it carry over to other data [paper sections 4 and 6: sample size, domains].

use super::centre::Centred;
use super::fit::widths_differ;
use super::options::check_options;
use super::{FitOptions, Statistics, apply, fit};
use crate::device::Device;
use crate::geometry::diagnosis::gap;
use crate::geometry::rows::mean;
use crate::host::split_mix::{STEP, mix, unit};
use crate::stats::{RowSource, StreamOptions, Subset, decode};
use crate::{ElementType, Error, Result};

/// One sample size.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeResult {
    /// Rows fitted on, of each side (of a side that has fewer, all).
    pub rows: u64,
    /// The gap on held-out rows in each trial.
    pub gaps: Vec<f64>,
}

impl SizeResult {
    /// Mean of the gaps.
    pub fn mean(&self) -> f64 {
        self.gaps.iter().sum::<f64>() / self.gaps.len().max(1) as f64
    }

    /// Standard deviation of the gaps (1/(K-1)); `None` for one trial, which says nothing of it.
    pub fn deviation(&self) -> Option<f64> {
        let (mean, trials) = (self.mean(), self.gaps.len());
        let squares: f64 = self.gaps.iter().map(|g| (g - mean).powi(2)).sum();
        (trials > 1).then(|| (squares / (trials - 1) as f64).sqrt())
    }
}

/// The sizes of a study over `available` rows: 100, 200, 500, 1000, … and all.
pub fn sizes(available: u64) -> Vec<u64> {
    let steps = (2..18).flat_map(|p| [1u64, 2, 5].map(|m| m * 10u64.pow(p)));
    steps.take_while(|&n| n < available).chain([available]).collect()
}

/// Fits on `n` random rows out of rows 0, 2, 4, … for each of `sizes`, and measures the gap that is left between the means
/// of the aligned source's rows 1, 3, 5, … and of the target's, `trials` times with other rows. A size that takes all rows
/// is tried once.
///
/// # Errors
/// Sizes below 2 or above what there is; no trials; whatever fitting and applying report.
pub fn sample_size_study(
    device: &Device,
    source: &mut dyn RowSource,
    target: &mut dyn RowSource,
    (sizes, trials, seed): (&[u64], u32, u64),
    options: &FitOptions<'_>,
) -> Result<Vec<SizeResult>> {
    refuse_pairs(options)?;
    check_options(options, source.width())?;
    if source.width() != target.width() {
        return Err(widths_differ(source.width(), target.width()));
    }
    let halves = (source.rows().div_ceil(2), target.rows().div_ceil(2));
    let most = halves.0.max(halves.1);
    if trials == 0 {
        return Err(Error::argument("trials", "0; give 1 or more"));
    }
    if let Some(size) = sizes.iter().find(|n| !(2..=most).contains(*n)) {
        let problem = format!("{size}; half of the rows is held out, which leaves 2 to {most} to fit on");
        return Err(Error::argument("sizes", problem));
    }
    let (held_out, _) = mean(&mut Subset::odd(target), options.stream)?;
    let mut table = Vec::with_capacity(sizes.len());
    for &rows in sizes {
        let trials = if rows >= most { 1 } else { trials };
        let mut gaps = Vec::with_capacity(trials as usize);
        for trial in 0..trials {
            let key = Key::new(seed).with(rows).with(u64::from(trial));
            let chosen = (choose(halves.0, rows, key.with(0)), choose(halves.1, rows, key.with(1)));
            let statistics = fit(
                device,
                &mut Subset::new(source, |i| i % 2 == 0 && chosen.0[(i / 2) as usize]),
                &mut Subset::new(target, |i| i % 2 == 0 && chosen.1[(i / 2) as usize]),
                options,
            )?;
            gaps.push(left(device, &statistics, (&mut *source, &mut *target), &held_out, options.stream)?);
        }
        table.push(SizeResult { rows, gaps });
    }
    Ok(table)
}

/// Sizes and domains are tried on rows that are drawn from each side by itself.
fn refuse_pairs(options: &FitOptions<'_>) -> Result<()> {
    if options.method.needs_pairs() {
        let problem =
            format!("{} is fitted to pairs, which a calibration does not keep; choose another", options.method);
        return Err(Error::argument("method", problem));
    }
    Ok(())
}

/// A domain's rows.
pub struct Domain<'a> {
    /// Its name.
    pub name: String,
    /// Text.
    pub source: Box<dyn RowSource + 'a>,
    /// Image.
    pub target: Box<dyn RowSource + 'a>,
}

impl std::fmt::Debug for Domain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Domain({})", self.name)
    }
}

/// The gap that an operator fitted on domain i (rows 0, 2, 4, …) leaves on domain j (rows 1, 3, 5, …): `[i][j]`.
///
/// # Errors
/// Widths that differ between domains; whatever fitting and applying report.
pub fn transfer_matrix(device: &Device, domains: &mut [Domain<'_>], options: &FitOptions<'_>) -> Result<Vec<Vec<f64>>> {
    if let Some(first) = domains.first().map(|domain| domain.source.width()) {
        refuse_pairs(options)?;
        check_options(options, first)?;
        let widths = |domain: &Domain<'_>| [domain.source.width(), domain.target.width()];
        if let Some(other) = domains.iter().find(|domain| widths(domain) != [first; 2]) {
            let [source, target] = widths(other);
            let want = format!("width {first}, as the first domain's source");
            return Err(Error::shape("calibrate", other.name.clone(), want, format!("widths {source} and {target}")));
        }
    }
    let mut operators = Vec::with_capacity(domains.len());
    let mut held_out = Vec::with_capacity(domains.len());
    for domain in domains.iter_mut() {
        let (source, target) = (&mut *domain.source, &mut *domain.target);
        operators.push(fit(device, &mut Subset::even(source), &mut Subset::even(target), options)?);
        held_out.push(mean(&mut Subset::odd(target), options.stream)?.0);
    }
    let mut matrix = Vec::with_capacity(operators.len());
    for statistics in &operators {
        let mut line = Vec::with_capacity(domains.len());
        for (domain, held_out) in domains.iter_mut().zip(&held_out) {
            let (y, x) = (&mut domain.source, &mut domain.target);
            line.push(left(device, statistics, (&mut **y, &mut **x), held_out, options.stream)?);
        }
        matrix.push(line);
    }
    Ok(matrix)
}

/// The gap that an operator leaves between rows 1, 3, 5, … of the sides; `held_out` is the mean of the target's.
fn left(
    device: &Device,
    statistics: &Statistics,
    (source, target): (&mut dyn RowSource, &mut dyn RowSource),
    held_out: &[f64],
    stream: StreamOptions<'_>,
) -> Result<f64> {
    let aligned = aligned_mean(device, statistics, &mut Subset::odd(source), stream)?;
    if !statistics.method.centres() {
        return Ok(gap(held_out, &aligned));
    }
    let mut rows = Subset::odd(target);
    let (centred, _) = mean(&mut Centred::new(&mut rows, &statistics.mean_target, stream.nonfinite), stream)?;
    Ok(gap(&centred, &aligned))
}

/// Mean of the aligned rows, which are f32, in f64.
fn aligned_mean(
    device: &Device,
    statistics: &Statistics,
    source: &mut dyn RowSource,
    stream: StreamOptions<'_>,
) -> Result<Vec<f64>> {
    let d = statistics.width();
    let (mut total, mut rows, mut row) = (vec![0.0; d], 0u64, vec![0.0; d]);
    let mut sink = |bytes: &[u8], n: usize| {
        for tight in bytes.chunks_exact(4 * d) {
            row.iter_mut().zip(tight.chunks_exact(4)).for_each(|(r, e)| *r = decode(e, ElementType::F32));
            // Rows of the method `none` come as they are.
            crate::stats::normalise(&mut row);
            total.iter_mut().zip(&row).for_each(|(t, x)| *t += x);
        }
        rows += n as u64;
        Ok(())
    };
    apply(device, &*statistics.aligner(), source, ElementType::F32, stream, &mut sink)?;
    if rows == 0 {
        return Err(Error::degenerate(
            "calibrate: no row is left to hold out; give two rows or more a side".to_owned(),
        ));
    }
    total.iter_mut().for_each(|t| *t /= rows as f64);
    Ok(total)
}

/// A key that counts by SplitMix64.
#[derive(Clone, Copy)]
pub(super) struct Key(u64);

impl Key {
    pub fn new(seed: u64) -> Key {
        Key(seed)
    }

    pub fn with(self, value: u64) -> Key {
        Key(mix(self.0.wrapping_mul(STEP).wrapping_add(value).wrapping_add(0x632B_E59B_D9B4_E019)))
    }

    /// In [0, 1).
    pub fn uniform(self) -> f64 {
        unit(self.0)
    }
}

/// Which `rows` of `available` are chosen, each set as likely as any other (selection sampling).
pub(super) fn choose(available: u64, rows: u64, key: Key) -> Vec<bool> {
    let mut wanted = rows.min(available);
    let take = |i: u64| {
        let taken = key.with(i).uniform() * ((available - i) as f64) < wanted as f64;
        wanted -= u64::from(taken);
        taken
    };
    (0..available).map(take).collect()
}
