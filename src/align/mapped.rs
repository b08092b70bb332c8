//! Operators with a linear map `[d, d]`: `P(A u + b)`, then the centroid steps. What A is, is each method's own file. AnisoAlign adds what rows become
//! in its planes, where lengths are mapped and what is learnt turns them, before the projection.
//!
//! The d × d product of each row is in f64 on the host where [`super::apply`] streams rows, in f32 on a device where an operator is
//! recorded.

use super::aligner::{Target, row_base};
use super::options::FitOptions;
use super::radial::{Radial, RadialOn};
use super::{Aligner, Applied, Centroid, Method, OnDevice, Sink, Statistics, anisoalign, blockwise, ridge, transport};
use crate::device::{Device, Recorder, Tensor};
use crate::geometry::rows::UnitRows;
use crate::geometry::{Survey, dense};
use crate::host::dot;
use crate::kernels::align::apply as kernel;
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::stats::{RowSource, StreamOptions, normalise, trace_scale};
use crate::{ElementType, Error, Result};

/// The ridge by default, as a share of the source's mean variance: 1e-6 T_y / d.
pub const SHRINKAGE: f64 = 1e-6;

/// A linear map and shifts: `P(A u + b)`, then `P(r + h)` for each shift; with planes `P(A u + b + Qᵀ c)`, c what the coordinates become there.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// Whose map it is.
    pub method: Method,
    /// A, `[d, d]`, row-major.
    pub map: Vec<f64>,
    /// b = μ_x - A μ_y, `[d]`; with planes P_V μ_x - A μ_y, V what they leave.
    pub shift: Vec<f64>,
    /// AnisoAlign's planes.
    pub radial: Option<Radial>,
    /// h of each centroid step, `[d]`.
    pub steps: Vec<Vec<f64>>,
}

impl Aligner for Mapped {
    fn method(&self) -> Method {
        self.method
    }

    fn width(&self) -> usize {
        self.shift.len()
    }

    fn on(&self, device: &Device) -> Result<Box<dyn OnDevice>> {
        let d = self.width();
        self.check()?;
        let single = |values: &[f64]| -> Vec<f32> { values.iter().map(|&x| x as f32).collect() };
        let steps = match self.steps.len() {
            0 => None,
            _ => Some(kernel::Operator::new(device, 1.0, &self.steps, d)?),
        };
        let (map, shift) = (single(&self.map), single(&self.shift));
        Ok(Box::new(MappedOn {
            map: Tensor::from_f32(device, &map, d)?,
            shift: Tensor::from_f32(device, &shift, d)?,
            radial: self.radial.as_ref().map(|radial| radial.on(device, d)).transpose()?,
            steps,
        }))
    }

    fn on_host(&self) -> Option<&Mapped> {
        Some(self)
    }
}

/// The map on a device, in f32.
struct MappedOn {
    map: Tensor,
    /// `[1, d]`.
    shift: Tensor,
    radial: Option<RadialOn>,
    steps: Option<kernel::Operator>,
}

impl OnDevice for MappedOn {
    fn record(&self, recorder: &mut Recorder, input: &Tensor, rows: usize, target: Target<'_>) -> Result<()> {
        if input.width() != self.map.width() || rows > input.rows() {
            let (want, got) = (format!("rows of width {}", self.map.width()), format!("{rows} of {}", input.width()));
            return Err(Error::shape("apply", "rows", want, got));
        }
        let device = recorder.device().clone();
        if rows == 0 {
            return Ok(());
        }
        let scratch = || Tensor::new(&device, input.rows(), input.width(), ElementType::F32);
        let (unit, mapped) = (scratch()?, scratch()?);
        let ones = Tensor::from_f32(&device, &vec![1.0; rows], 1)?;
        let first = (target.status, row_base(target.first_row)?);
        // Normalises: nothing is added.
        let project = kernel::Operator::new(&device, 1.0, &[vec![0.0; input.width()]], input.width())?;
        kernel::record(recorder, &project, input, &unit, rows, first)?;
        let shift = (Operand::new(&ones), Operand::new(&self.shift));
        matmul::record(recorder, Product::default(), shift, (&mapped, 0))?;
        let product = Product { accumulate: true, ..Product::default() };
        let operands = (Operand::new(&unit).rows(0, rows), Operand::new(&self.map).transposed());
        matmul::record(recorder, product, operands, (&mapped, 0))?;
        if let Some(radial) = &self.radial {
            radial.record(recorder, &unit, rows, &mapped)?;
        }
        let last = self.steps.as_ref().unwrap_or(&project);
        kernel::record(recorder, last, &mapped, target.output, rows, first)
    }
}

impl Mapped {
    pub(super) fn of(statistics: &Statistics, map: &[f64]) -> Self {
        let d = statistics.width().max(1);
        let mut target = statistics.mean_target.clone();
        for q in statistics.radial.iter().flat_map(|radial| radial.directions.chunks_exact(d)) {
            let along = dot(q, &statistics.mean_target);
            target.iter_mut().zip(q).for_each(|(x, q)| *x -= along * q);
        }
        let rows = map.chunks_exact(d).zip(&target);
        let shift = rows.map(|(a, x)| x - dot(a, &statistics.mean_source)).collect();
        let (radial, steps) = (statistics.radial.clone(), statistics.shifts.clone());
        Mapped { method: statistics.method, map: map.to_vec(), shift, radial, steps }
    }

    /// Refuses fields that do not fit each other: they are public, and those of [`Statistics`].
    fn check(&self) -> Result<()> {
        let d = self.width();
        if d == 0 || d.checked_mul(d) != Some(self.map.len()) || self.steps.iter().any(|h| h.len() != d) {
            let got = format!("{} values, shifts of {d}", self.map.len());
            return Err(Error::shape("apply", "map", "[d, d] and shifts of width d, at least 1", got));
        }
        self.radial.as_ref().map_or(Ok(()), |radial| radial.check(d))
    }

    /// Maps unit rows `[n, d]` in place.
    ///
    /// # Errors
    /// No whole rows; a map that is not `[d, d]`.
    pub fn map_rows(&self, rows: &mut [f64]) -> Result<()> {
        let d = self.shift.len();
        self.check()?;
        let n = crate::geometry::rows::count("apply", "rows", rows, d)?;
        let mut out = vec![0.0; rows.len()];
        dense::product_into(dense::view(rows, n, d), dense::view(&self.map, d, d).transpose(), &mut out);
        if let Some(radial) = &self.radial {
            radial.add(rows, &self.shift, &mut out);
        }
        for row in out.chunks_exact_mut(d) {
            for shift in std::iter::once(&self.shift).chain(&self.steps) {
                row.iter_mut().zip(shift).for_each(|(r, b)| *r += b);
                normalise(row);
            }
        }
        rows.copy_from_slice(&out);
        Ok(())
    }

    fn mean(&self, source: &mut dyn RowSource, options: StreamOptions<'_>) -> Result<Vec<f64>> {
        let mut total = vec![0.0; self.shift.len()];
        let (mut rows, mut n) = (UnitRows::new(source, options)?, 0u64);
        loop {
            let mut block = rows.next()?;
            if block.is_empty() {
                break;
            }
            self.map_rows(&mut block)?;
            for row in block.chunks_exact(total.len()) {
                total.iter_mut().zip(row).for_each(|(t, r)| *t += r);
                n += 1;
            }
        }
        total.iter_mut().for_each(|t| *t /= n.max(1) as f64);
        Ok(total)
    }

    /// Streams a source through the map, each of its blocks by itself: files end with a block.
    pub(super) fn stream(
        &self,
        source: &mut dyn RowSource,
        output: ElementType,
        options: StreamOptions<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<Applied> {
        let (mut rows, mut total) = (UnitRows::new(source, options)?, 0);
        let mut bytes = Vec::new();
        loop {
            let mut block = rows.next_piece()?;
            if block.is_empty() {
                return Ok(Applied { rows: total, replaced: rows.replaced() });
            }
            self.map_rows(&mut block)?;
            bytes.resize(block.len() * output.bytes(), 0);
            for (value, out) in block.iter().zip(bytes.chunks_exact_mut(output.bytes())) {
                super::apply::encode(*value, out, output);
            }
            let n = block.len() / self.width();
            sink(&bytes, n)?;
            total += n as u64;
        }
    }
}

/// A side's mean and covariance.
fn surveyed(device: &Device, (rows, side): (&mut dyn RowSource, &str), stream: StreamOptions<'_>) -> Result<Survey> {
    let survey = Survey::of(device, rows, 0, stream)?;
    if survey.rows() < 2 || survey.spectrum().trace() < crate::stats::TRACE_RESOLUTION {
        let problem = "has a single row, or rows that are all equal: it has no covariance to align; give more rows";
        return Err(Error::degenerate(format!("fit: the {side} {problem}")));
    }
    Ok(survey)
}

/// Fits the map and the centroid step: one read of the target, two of the source, one more for each further step; methods that are fitted to rows
/// read both sides once more.
pub(super) fn fit(
    device: &Device,
    source: &mut dyn RowSource,
    target: &mut dyn RowSource,
    options: &FitOptions<'_>,
) -> Result<Statistics> {
    if options.method.needs_pairs() && source.rows() != target.rows() {
        let (y, x) = (source.rows(), target.rows());
        let problem = format!("the target has {x} rows, the source {y} rows; row i of one is the partner of row i");
        return Err(Error::argument("paired", problem));
    }
    let shrinkage = options.shrinkage.unwrap_or(SHRINKAGE);
    // `check_options` refused the exact step.
    let steps = if let Centroid::Steps(steps) = options.centroid { steps } else { 1 };
    let y = surveyed(device, (source, "source"), options.stream)?;
    let x = surveyed(device, (target, "target"), options.stream)?;
    let (trace_source, trace_target) = (y.spectrum().trace(), x.spectrum().trace());
    let scale = trace_scale(trace_source, trace_target);
    let share = shrinkage * trace_source / y.width() as f64;
    let strength = (options.method == Method::OptimalTransport).then(|| options.strength.unwrap_or(1.0));
    let (map, radial) = match (strength, options.method) {
        (Some(strength), _) => (transport::map((&y, &x), share, (strength, scale))?, None),
        (None, Method::AnisoAlign) => anisoalign::map(device, (&mut *source, &mut *target), (&y, &x), options)?,
        (None, Method::Ridge) => (ridge::map((&mut *source, &mut *target), (&y, &x), share, options.stream)?, None),
        _ => (blockwise::map((&y, &x), share, options.frame)?, None),
    };
    let mut statistics = Statistics {
        method: options.method,
        centroid: Some(options.centroid),
        mean_source: y.mean().to_vec(),
        mean_target: x.mean().to_vec(),
        trace_source,
        trace_target,
        scale: if strength.is_some() { scale } else { 1.0 },
        mean_projected: None,
        shifts: Vec::new(),
        residual_gap: None,
        rows: (y.rows(), x.rows()),
        noise: None,
        strength,
        map: Some(map),
        radial,
        encoders: (source.encoder(), target.encoder()),
        privacy: (0.0, 0.0),
        budgets: [None; 2],
    };
    for _ in 0..steps {
        let Some(map) = &statistics.map else { break };
        let mean = Mapped::of(&statistics, map).mean(source, options.stream)?;
        statistics.shifts.push(statistics.mean_target.iter().zip(&mean).map(|(x, m)| x - m).collect());
        statistics.mean_projected.get_or_insert(mean);
    }
    Ok(statistics)
}
