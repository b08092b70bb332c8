//! The bounded refinement of points in planes [4.4.2, equations 7 to 9].

use super::network::{Network, NetworkOn};
use super::options::bounds_fit;
use super::{Phases, Stages};
use crate::device::{Device, Recorder, Tensor};
use crate::host::align::phase_features::{Strided, features};
use crate::host::align::phase_turn;
use crate::kernels::align::phase_turn::Bounds;
use crate::kernels::align::{phase_features, phase_turn as turn};
use crate::{ElementType, Error, Result};

/// What is learnt in AnisoAlign's m planes, of rows of width d: a network g of the features `[cos θ_k, sin θ_k]` of each plane, `ln ρ_k` of each, and
/// v, `[3 m + d]`, to steps `[Δθ_k, Δρ_k]` of each plane. Points turn by `α_θ tanh Δθ` and their lengths grow by `e^(α_ρ tanh Δρ)`, so that coordinates c move by
/// `κ ‖c‖` at most, `κ = √((e^α_ρ - 1)² + 4 e^α_ρ sin²(α_θ / 2))` [A.7].
#[derive(Clone, Debug, PartialEq)]
pub struct Refinement {
    /// What it was trained by.
    pub stages: Stages,
    /// α_θ.
    pub alpha_theta: f64,
    /// α_ρ.
    pub alpha_rho: f64,
    /// g, of two layers.
    pub network: Network,
    /// How the target's phases lie.
    pub phases: Phases,
    /// The score prior, of three layers, where it was trained: from the features of noised phases, `[cos φ̃_k, sin φ̃_k]` of each plane, `ln ρ_k` of each, and 16 of
    /// the noise level, to `√2 σ_t` times the score of each plane.
    pub prior: Option<Network>,
}

/// Features of the noise level.
pub(super) const TIME: usize = 16;

impl Refinement {
    /// κ: by how much of its norm a row's coordinates move at most.
    pub fn bound(&self) -> f64 {
        let grown = self.alpha_rho.exp();
        ((grown - 1.0).powi(2) + 4.0 * grown * (self.alpha_theta / 2.0).sin().powi(2)).sqrt()
    }

    /// Refuses fields that do not fit each other, or `planes` of rows of width `d`.
    pub(in crate::align) fn check(&self, planes: usize, d: usize) -> Result<()> {
        self.network.check(2, (3 * planes + d, 2 * planes))?;
        self.phases.check(planes)?;
        if !bounds_fit([self.alpha_theta, self.alpha_rho]) {
            return Err(Error::argument("alpha", "a bound that no refinement has"));
        }
        if self.stages == Stages::Init || self.stages.has_prior() != self.prior.is_some() {
            return Err(Error::argument("stages", format!("{} does not say what was learnt", self.stages)));
        }
        self.prior.as_ref().map_or(Ok(()), |prior| prior.check(3, (3 * planes + TIME, planes)))
    }

    /// Turns and stretches the points `[n, 2 m]` of rows whose part in V is `rest`, `[n, d]`.
    pub(in crate::align) fn turn(&self, points: &mut [f64], rest: &[f64]) {
        let planes = self.phases.planes();
        let n = points.len() / (2 * planes);
        let d = rest.len() / n.max(1);
        let mut rows = vec![0.0; n * (3 * planes + d)];
        let operands = (Strided::new(&*points, 2 * planes), Strided::new(rest, d));
        features(operands, (planes, d), &mut rows, 3 * planes + d);
        let steps = self.network.apply(rows, n);
        let before = points.to_vec();
        let bounds = Bounds { theta: self.alpha_theta, rho: self.alpha_rho };
        let operands = (Strided::new(&steps, 2 * planes), Strided::new(&before, 2 * planes));
        phase_turn::forward(bounds, operands, planes, (points, 2 * planes));
    }

    /// On a device, in f32.
    pub(in crate::align) fn on(&self, device: &Device) -> Result<RefinementOn> {
        let bounds = Bounds { theta: self.alpha_theta as f32, rho: self.alpha_rho as f32 };
        Ok(RefinementOn { network: self.network.on(device)?, bounds })
    }
}

/// See [`Refinement::on`].
pub(in crate::align) struct RefinementOn {
    network: NetworkOn,
    bounds: Bounds<f32>,
}

impl RefinementOn {
    /// Records what becomes of points `[n, 2 m]` of rows whose part in V is `rest`, `[n, d]`.
    pub fn record(&self, recorder: &mut Recorder, points: &Tensor, rest: &Tensor) -> Result<Tensor> {
        let device = recorder.device().clone();
        let zeros = |width| Tensor::new(&device, points.rows(), width, ElementType::F32);
        let rows = zeros(points.width() / 2 * 3 + rest.width())?;
        phase_features::record(recorder, points, rest, &rows)?;
        let (steps, turned) = (zeros(points.width())?, zeros(points.width())?);
        self.network.infer(recorder, &rows, &steps)?;
        turn::forward(recorder, self.bounds, (&steps, points), &turned)?;
        Ok(turned)
    }
}
