//! AnisoAlign: its initialisation in closed form, and the stages that are trained [arXiv 2605.07825, 4].
//!
//! Q are the leading directions of `Σ_y + Σ_x`, in planes of two; V is what they leave. In each plane rows keep their angle, once they are moved by
//! `μ_x - μ_y`, and their length goes from the source's quantile to the target's. In V each coordinate takes the target's deviation:
//! `v = P_V μ_x + D P_V (u - μ_y)`, `D = diag(σ_V(x) / (σ_V(y) + 1e-12))`. Rows are the projected sum of both, and the centroid step follows.
//!
//! The paper leaves open how many directions there are (here 90% of the energy, an even number), how they are mixed (here not, or by a random rotation),
//! and over what the quantiles of the source are taken (here over its moved rows). Where source lengths are equal, as rows that occur more than once make
//! them, the quantiles that they stand for are averaged.
//!
//! What is trained: a prior of the target's phases ([`Phases`]), a network that finds the score of noised phases, and then, with that frozen, the
//! [`Refinement`], a network that turns each plane's point by a bounded angle and stretches it within bounds. The prior's loss is the mean of
//! `2 σ_t² (s(φ̃, t, ln ρ) - ∇ ln WN(φ̃; μ, 2 σ_t²))²` over rows and planes, `φ̃ = μ + √2 σ_t n`, `μ = φ - τ ∇Ψ(φ)`; the refinement's is the same of its own rows,
//! and the weighted mean of `1 - cos` of how it changes differences of neighbouring planes' phases. The paper gives no sizes, bounds, weights, noise levels or
//! steps: [`PlaneOptions`] has those that a caller may change; `train.rs`, `losses.rs` and `phases.rs` say the others.
//!
//! The paper's refinement also moves what lies in V, by a bounded Δv. No term of its objective contains that: started at 0, it stays there. It is left out.

mod checkpoint;
mod file;
mod losses;
mod network;
mod options;
mod phases;
#[cfg(test)]
mod reference;
mod refinement;
mod sides;
mod train;

pub use checkpoint::TrainingState;
pub(super) use file::names as tensor_names;
pub use network::{Layer, Network};
pub use options::{Mix, PlaneOptions, Stages, Trained, Training, TrainingStep};
pub use phases::Phases;
pub use refinement::Refinement;
pub(super) use refinement::RefinementOn;

use faer::Mat;

use self::sides::{Chosen, Side, factors, scaled};
use super::FitOptions;
use super::radial::{KNOTS, Radial, even_out, quantiles};
use super::study::{Key, choose};
use crate::device::Device;
use crate::geometry::transport::random_directions;
use crate::geometry::{Frame, Survey, dense};
use crate::stats::RowSource;
use crate::{Error, Result};

/// `D P_V` of source and target, `[d, d]`, row-major, and the planes, where there are two directions or more: one more read of both sides.
pub(super) fn map(
    device: &Device,
    (source, target): (&mut dyn RowSource, &mut dyn RowSource),
    (y, x): (&Survey, &Survey),
    options: &FitOptions<'_>,
) -> Result<(Vec<f64>, Option<Radial>)> {
    let d = y.width();
    let Some(frame) = Frame::of_planes(y, x, options.frame)? else {
        if options.planes.stages != Stages::Init {
            let problem = "fit: the rows of both sides span a single direction, so that there is no plane to train in";
            return Err(Error::degenerate(format!("{problem}; take the initialisation alone")));
        }
        let deviations = |side: &Survey| (0..d).map(|i| side.covariance()[i * (d + 1)].sqrt()).collect::<Vec<_>>();
        return Ok((scaled(&[], &factors((&deviations(y), &deviations(x)))), None));
    };
    let directions = mixed(&frame, options)?;
    let mut radial = Radial::new(directions, (y.mean(), x.mean()), (Vec::new(), Vec::new()));
    let still = vec![0.0; radial.offset.len()];
    let key = Key::new(options.seed);
    let [chosen_y, chosen_x] =
        [(y, 0), (x, 1)].map(|(s, side)| choose(s.rows(), options.planes.fit_rows, key.with(side)));
    let trains = options.planes.stages != Stages::Init;
    let chosen = |rows, rest| Chosen { rows, coordinates: trains, rest: trains && rest };
    let (from, to) =
        ((y.mean(), &radial.offset[..], chosen(&chosen_y, true)), (x.mean(), &still[..], chosen(&chosen_x, false)));
    let mut from = Side::of(source, &radial.directions, from, options.stream)?;
    let mut to = Side::of(target, &radial.directions, to, options.stream)?;
    let knots = KNOTS.min(from.lengths[0].len()).min(to.lengths[0].len());
    if knots == 0 {
        return Err(Error::degenerate("fit: a source gave rows once, and none when it was read again".to_owned()));
    }
    let factors = factors((&from.deviations, &to.deviations));
    radial.source = quantiles(&mut from.lengths, knots);
    radial.target = quantiles(&mut to.lengths, knots);
    even_out(&radial.source, &mut radial.target, knots);
    let map = scaled(&radial.directions, &factors);
    if trains {
        let data = train::Data::new(&radial, (from, to), (y.mean(), x.mean(), &factors))?;
        radial.refinement = Some(train::train(device, &data, options)?);
    }
    Ok((map, Some(radial)))
}

/// The frame's directions `[2 m, d]`, mixed as the options say.
fn mixed(frame: &Frame, options: &FitOptions<'_>) -> Result<Vec<f64>> {
    let (r, d) = (frame.rank(), frame.width());
    if options.planes.mix == Mix::None {
        return Ok(frame.directions().to_vec());
    }
    // Of a matrix of normal numbers; that its columns have norm 1 changes nothing in Q.
    let normal = random_directions(r, r, options.seed);
    let qr = dense::view(&normal, r, r).transpose().qr();
    let (q, upper) = (qr.compute_Q(), qr.R());
    // With a positive diagonal Q is uniform (Mezzadri 2007).
    let rotation = Mat::from_fn(r, r, |i, j| if upper[(i, i)] < 0.0 { -q[(j, i)] } else { q[(j, i)] });
    Ok(dense::rows_of(dense::product(rotation.as_ref(), dense::view(frame.directions(), r, d)).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::sides::leave;
    use super::*;
    use crate::device::Device;
    use crate::geometry::Cut;
    use crate::stats::{MemoryRows, StreamOptions};

    /// A random rotation is one, depends on the seed, and turns the same span.
    #[test]
    fn mixed_directions_span_the_same() {
        let values: Vec<f32> = random_directions(90, 12, 3).into_iter().map(|x| x as f32).collect();
        let mut rows = MemoryRows::f32("rows", &values, 12).unwrap();
        let survey = Survey::of(&Device::host(), &mut rows, 0, StreamOptions::default()).unwrap();
        let frame = Frame::of_planes(&survey, &survey, Cut::Rank(5)).unwrap().unwrap();
        assert_eq!(frame.rank(), 6);
        let of = |seed| {
            let planes = PlaneOptions::default().mix(Mix::Haar);
            mixed(&frame, &FitOptions::default().planes(planes).seed(seed)).unwrap()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        for seed in 0..20 {
            let turned = Frame::from_directions(of(seed), 12).unwrap();
            let mut left = turned.directions().to_vec();
            leave(&mut left, frame.directions(), 12);
            assert!(left.iter().all(|x| x.abs() < 1e-14), "{seed}");
        }
    }

    #[test]
    fn planes_have_two_directions_each() {
        let device = Device::host();
        let planes = |values: &[f32], d: usize, cut: Cut| {
            let mut rows = MemoryRows::f32("rows", values, d).unwrap();
            let survey = Survey::of(&device, &mut rows, 0, StreamOptions::default()).unwrap();
            Frame::of_planes(&survey, &survey, cut).unwrap().map(|frame| frame.rank())
        };
        let values: Vec<f32> = random_directions(40, 5, 3).into_iter().map(|x| x as f32).collect();
        for (cut, want) in [(1, 2), (2, 2), (3, 4), (4, 4), (5, 4)] {
            assert_eq!(planes(&values, 5, Cut::Rank(cut)), Some(want));
        }
        assert_eq!(planes(&values, 5, Cut::Energy(1.0)), Some(4));
        // All on a line: no plane.
        assert_eq!(planes(&[1.0, -1.0, 1.0], 1, Cut::default()), None);
        assert_eq!(planes(&[1.0, 0.0, -1.0, 0.0, 1.0, 0.0], 2, Cut::default()), None);
    }
}
