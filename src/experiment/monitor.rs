//! The online monitor: what a held-out set of pairs shows while a dual encoder trains, in a frame that is frozen after a while
//! and, beside it, in the frame of the moment [spec 4, 8; paper sections 3.1-3.3 and appendix H.1].

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::record::{Record, Shape, View};
use crate::device::Device;
use crate::geometry::decomposition::Decomposition;
use crate::geometry::drift::{adjacent_cosine, pob_drift};
use crate::geometry::rows::count;
use crate::geometry::scatter::Scatter;
use crate::geometry::{
    CovarianceView, Cut, Frame, Split, direction_moments, gradient_spectrum, leakage, principal_angles_on,
    spectral_lock,
};
use crate::host::norm;
use crate::stats::{SecondMomentSums, normalise};
use crate::{Error, Result};

/// When and how it measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MonitorOptions {
    /// Steps from one measurement to the next.
    pub every: u64,
    /// t0: from this step on the frame stays as it is.
    pub freeze_at: u64,
    /// How many directions the frame has.
    pub cut: Cut,
    /// Measurements whose covariances of residuals are averaged, step by step.
    pub window: usize,
    /// Steps whose gradients are put together, those before a measurement.
    pub gradient_steps: usize,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        MonitorOptions { every: 20, freeze_at: 100, cut: Cut::Energy(0.95), window: 5, gradient_steps: 16 }
    }
}

impl MonitorOptions {
    fn check(&self) -> Result<()> {
        for (name, value) in
            [("every", self.every), ("window", self.window as u64), ("gradient steps", self.gradient_steps as u64)]
        {
            if value == 0 {
                return Err(Error::argument("monitor", format!("{name} is 0; give at least 1")));
            }
        }
        Ok(())
    }
}

/// What is measured at a step.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Optimiser steps done.
    pub step: u64,
    /// The training loss of the last batch.
    pub loss: f64,
    /// The temperature.
    pub temperature: f64,
    /// Embeddings of the probe's images, `[n, d]`.
    pub images: &'a [f32],
    /// Embeddings of their texts, `[n, d]`.
    pub texts: &'a [f32],
    /// Gradients of the loss by embeddings, `[m, d]`; may be empty.
    pub gradients: &'a [f32],
}

/// γ where a frame was and is.
#[derive(Clone, Debug, Default)]
struct Passive {
    at_freeze: Option<Vec<f64>>,
    before: Option<Vec<f64>>,
}

/// Measures, keeps what later measurements compare with, and writes a line of JSON for each.
#[derive(Debug)]
pub struct Monitor {
    device: Device,
    options: MonitorOptions,
    width: usize,
    frozen: Option<Frame>,
    fixed: Passive,
    dynamic: Passive,
    covariances: VecDeque<Vec<f64>>,
    records: Vec<Record>,
    log: Option<(File, PathBuf)>,
}

/// Moments of the probe.
struct Probe {
    m: Vec<f64>,
    pairs: u64,
    differences: Vec<f64>,
    covariance: Vec<f64>,
    sides: [(Vec<f64>, Vec<f64>); 2],
}

impl Monitor {
    /// A monitor of embeddings of a width.
    ///
    /// # Errors
    /// Options that are 0; a width of 0.
    pub fn new(width: usize, options: MonitorOptions) -> Result<Self> {
        options.check()?;
        if width == 0 {
            return Err(Error::argument("monitor", "embeddings of width 0"));
        }
        let (fixed, dynamic) = (Passive::default(), Passive::default());
        let (covariances, records) = (VecDeque::new(), Vec::new());
        let device = Device::host();
        Ok(Monitor { device, options, width, frozen: None, fixed, dynamic, covariances, records, log: None })
    }

    /// Finds the angles between frames on `device`, where it is a GPU; a new monitor finds them on the host's cores.
    #[must_use]
    pub fn on(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// Also writes each record to `path` at once, one line of JSON each.
    ///
    /// # Errors
    /// The file exists and `force` is off, or cannot be created.
    pub fn logged(mut self, path: &Path, force: bool) -> Result<Self> {
        let mut options = File::options();
        options.write(true);
        match force {
            true => options.create(true).truncate(true),
            false => options.create_new(true),
        };
        let file = options.open(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Error::OutputExists(path.to_path_buf()),
            _ => Error::io("create", path)(e),
        })?;
        self.log = Some((file, path.to_path_buf()));
        Ok(self)
    }

    /// The options.
    pub fn options(&self) -> &MonitorOptions {
        &self.options
    }

    /// Whether a measurement is due after `step` optimiser steps.
    pub fn wants(&self, step: u64) -> bool {
        step.is_multiple_of(self.options.every)
    }

    /// All measurements so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The frozen frame, from t0 on.
    pub fn frame(&self) -> Option<&Frame> {
        self.frozen.as_ref()
    }

    /// Measures; the record is also kept, and written if there is a log.
    ///
    /// # Errors
    /// Rows that do not fit each other or the width, fewer than two pairs, values that are not finite; embeddings that are all
    /// equal; the log cannot be written.
    pub fn observe(&mut self, seen: Observation<'_>) -> Result<&Record> {
        let probe = self.probe(&seen)?;
        let now = self.frame_of(&probe)?;
        let due = self.frozen.is_none() && seen.step >= self.options.freeze_at;
        if due {
            self.frozen = Some(now.clone());
        }
        let fixed = self.frozen.clone().unwrap_or_else(|| now.clone());
        if self.covariances.len() == self.options.window {
            self.covariances.pop_front();
        }
        self.covariances.push_back(probe.covariance.clone());
        let mut average = vec![0.0; self.width * self.width];
        let share = 1.0 / self.covariances.len() as f64;
        for covariance in &self.covariances {
            average.iter_mut().zip(covariance).for_each(|(a, c)| *a += share * c);
        }
        let gradients: Vec<f64> = seen.gradients.iter().map(|&g| f64::from(g)).collect();
        let views = [(&fixed, &mut self.fixed), (&now, &mut self.dynamic)].map(|(frame, passive)| {
            view(frame, &probe, &average, &gradients).map(|(view, split)| passive.compare(view, split, due))
        });
        let [fixed_view, dynamic_view] = views;
        let trace = |covariance: &[f64]| (0..self.width).map(|i| covariance[i * self.width + i]).sum();
        let record = Record {
            step: seen.step,
            loss: seen.loss,
            temperature: seen.temperature,
            frozen: self.frozen.is_some(),
            gap: norm(&probe.m),
            trace_image: trace(&probe.sides[0].1),
            trace_text: trace(&probe.sides[1].1),
            sin_theta: principal_angles_on(&self.device, &fixed, &now)?.sin_theta_max,
            fixed: fixed_view??,
            dynamic: dynamic_view??,
            shape_u: shape(&probe.differences, self.width, fixed.directions())?,
            shape_v: shape(&probe.differences, self.width, &fixed.complement()?)?,
        };
        if let Some((file, path)) = &mut self.log {
            writeln!(file, "{}", record.json()).and_then(|()| file.flush()).map_err(Error::io("write", &*path))?;
        }
        self.records.push(record);
        // Invariant: one was pushed.
        Ok(&self.records[self.records.len() - 1])
    }

    /// The frame of the moment: once another is frozen, of as many directions, for a frame that has more leans out of it by 90
    /// degrees.
    fn frame_of(&self, probe: &Probe) -> Result<Frame> {
        let side = |i: usize| CovarianceView::new(&probe.sides[i].1, self.width);
        let of = |cut| Frame::of(side(1), side(0), cut);
        match &self.frozen {
            None => of(self.options.cut),
            // Embeddings that have collapsed since have fewer.
            Some(frozen) => of(Cut::Rank(frozen.rank())).or_else(|_| of(self.options.cut)),
        }
    }

    fn probe(&self, seen: &Observation<'_>) -> Result<Probe> {
        let (d, name) = (self.width, "monitor");
        let unit = |rows: &[f32], what: &str| -> Result<Vec<f64>> {
            let mut rows: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
            if count(name, what, &rows, d)? < 2 {
                return Err(Error::shape(name, what, "at least 2 rows", rows.len() / d));
            }
            if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
                let got = format!("{} at row {}, column {}", rows[at], at / d, at % d);
                return Err(Error::shape(name, what, "finite values", got));
            }
            rows.chunks_exact_mut(d).for_each(normalise);
            Ok(rows)
        };
        let (x, y) = (unit(seen.images, "images")?, unit(seen.texts, "texts")?);
        if x.len() != y.len() {
            return Err(Error::shape(name, "texts", format!("{} rows, one per image", x.len() / d), y.len() / d));
        }
        let differences: Vec<f64> = x.iter().zip(&y).map(|(x, y)| x - y).collect();
        let mut scatter = Scatter::new(d);
        scatter.add(&differences);
        let (m, covariance) = (scatter.mean(), scatter.covariance());
        let pairs = (x.len() / d) as u64;
        // Of unit rows, whose sums are exact.
        let moments = |rows: &[f64]| {
            let mut sums = SecondMomentSums::on_host(d)?;
            sums.add_unit(rows)?;
            let found = sums.finish()?.covariance();
            Ok::<_, Error>((found.mean, found.matrix))
        };
        Ok(Probe { m, pairs, covariance, differences, sides: [moments(&x)?, moments(&y)?] })
    }
}

/// What one frame shows, but for the comparisons with the past.
fn view(frame: &Frame, probe: &Probe, average: &[f64], gradients: &[f64]) -> Result<(View, Split)> {
    let moments = (probe.m.clone(), probe.pairs);
    let found = Decomposition::from_moments(moments, average, frame)?;
    let lock = match gradients.is_empty() {
        true => None,
        false => spectral_lock(&found.spectrum_u, &gradient_spectrum(gradients, frame)?)?,
    };
    let view = View {
        rank: frame.rank(),
        pmb: found.bias.beta_norm,
        pob: found.bias.gamma_norm,
        drift: None,
        stability: None,
        leakage: leakage(gradients, frame)?,
        trace_u: found.spectrum_u.trace(),
        trace_v: found.spectrum_v.trace(),
        kappa_u: found.spectrum_u.kappa(),
        kappa_v: found.spectrum_v.kappa(),
        spectral_lock: lock,
        gamma_v1_deg: found.gamma_v1_angle_deg,
        coupling: found.coupling.norm,
        coupling_r2: found.coupling.r2,
    };
    Ok((view, found.bias))
}

impl Passive {
    /// Adds what the past says, and becomes the past.
    fn compare(&mut self, mut view: View, split: Split, freeze: bool) -> Result<View> {
        if freeze {
            self.at_freeze = Some(split.gamma.clone());
        }
        view.drift = self.at_freeze.as_deref().map(|g| pob_drift(&split.gamma, g)).transpose()?;
        view.stability = self.before.as_deref().map(|g| adjacent_cosine(&split.gamma, g)).transpose()?.flatten();
        self.before = Some(split.gamma);
        Ok(view)
    }
}

/// Third and fourth moments of the residuals along directions, averaged over them.
fn shape(differences: &[f64], width: usize, directions: &[f64]) -> Result<Option<Shape>> {
    if directions.is_empty() {
        return Ok(None);
    }
    let moments = direction_moments(differences, None, width, directions)?;
    let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let skewness = mean(moments.iter().filter_map(|m| m.skewness).map(f64::abs).collect());
    let kurtosis = mean(moments.iter().filter_map(|m| m.kurtosis).collect());
    Ok(skewness.zip(kurtosis).map(|(skewness, kurtosis)| Shape { skewness, kurtosis }))
}
