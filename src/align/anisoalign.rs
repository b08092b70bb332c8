//! AnisoAlign's global initialisation, in closed form [arXiv 2605.07825, 4.1, 4.2 and 4.4.1].
//!
//! Q are the leading directions of `Σ_y + Σ_x`, in planes of two; V is what they leave. In each plane rows keep their angle, once they are moved by
//! `μ_x - μ_y`, and their length goes from the source's quantile to the target's. In V each coordinate takes the target's deviation:
//! `v = P_V μ_x + D P_V (u - μ_y)`, `D = diag(σ_V(x) / (σ_V(y) + 1e-12))`. Rows are the projected sum of both, and the centroid step follows.
//!
//! The paper leaves open how many directions there are (here 90% of the energy, an even number), how they are mixed (here not, or by a random rotation),
//! and over what the quantiles of the source are taken (here over its moved rows). Where source lengths are equal, as rows that occur more than once make
//! them, the quantiles that they stand for are averaged. Its learnt stages are not here.

use faer::{Accum, Mat};

use super::FitOptions;
use super::radial::{KNOTS, Radial, even_out, quantiles};
use super::study::{Key, choose};
use crate::geometry::rows::UnitRows;
use crate::geometry::transport::random_directions;
use crate::geometry::{Frame, Survey, dense};
use crate::setters::setters;
use crate::stats::{RowSource, StreamOptions};
use crate::{Error, Result};

/// ε of the paper's lengths and ratios.
const EPSILON: f64 = 1e-12;
/// Deviation below which a coordinate's source is as good as constant: far below what rows of f32 resolve. It is then left as it is.
const CONSTANT: f64 = 1e-9;

/// How AnisoAlign's directions are mixed before they are put into planes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mix {
    /// As the eigenvalues order them: neighbours share a plane.
    #[default]
    None,
    /// By a random rotation, uniform over all of them (Haar), which makes the planes alike.
    Haar,
}

/// What AnisoAlign's planes are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlaneOptions {
    /// How directions are mixed.
    pub mix: Mix,
    /// The most rows of each side that quantiles of lengths are taken over, 2 at least: of more rows so many at random. They take 8 bytes for each
    /// row and plane.
    pub fit_rows: u64,
}

impl Default for PlaneOptions {
    fn default() -> Self {
        PlaneOptions { mix: Mix::None, fit_rows: 65_536 }
    }
}

setters! {
    PlaneOptions {
        mix: Mix,
        fit_rows: u64,
    }
}

/// `D P_V` of source and target, `[d, d]`, row-major, and the planes, where there are two directions or more: one more read of both sides.
pub(super) fn map(
    (source, target): (&mut dyn RowSource, &mut dyn RowSource),
    (y, x): (&Survey, &Survey),
    options: &FitOptions<'_>,
) -> Result<(Vec<f64>, Option<Radial>)> {
    let d = y.width();
    let Some(frame) = Frame::of_planes(y, x, options.frame)? else {
        let deviations = |side: &Survey| (0..d).map(|i| side.covariance()[i * (d + 1)].sqrt()).collect::<Vec<_>>();
        return Ok((scaled(&[], (&deviations(y), &deviations(x))), None));
    };
    let directions = mixed(&frame, options)?;
    let empty = Radial::new(directions, (y.mean(), x.mean()), (Vec::new(), Vec::new()));
    let still = vec![0.0; empty.offset.len()];
    let key = Key::new(options.seed);
    let [chosen_y, chosen_x] =
        [(y, 0), (x, 1)].map(|(s, side)| choose(s.rows(), options.planes.fit_rows, key.with(side)));
    let mut from = Side::of(source, &empty.directions, (y.mean(), &empty.offset, &chosen_y), options.stream)?;
    let mut to = Side::of(target, &empty.directions, (x.mean(), &still, &chosen_x), options.stream)?;
    let knots = KNOTS.min(from.lengths[0].len()).min(to.lengths[0].len());
    if knots == 0 {
        return Err(Error::degenerate("fit: a source gave rows once, and none when it was read again".to_owned()));
    }
    let map = scaled(&empty.directions, (&from.deviations, &to.deviations));
    let (source, mut target) = (quantiles(&mut from.lengths, knots), quantiles(&mut to.lengths, knots));
    even_out(&source, &mut target, knots);
    Ok((map, Some(Radial { source, target, ..empty })))
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

/// What is fitted of one side.
struct Side {
    /// Of the chosen rows, by plane.
    lengths: Vec<Vec<f64>>,
    /// Of each coordinate of what lies in V, over all rows, `[d]`.
    deviations: Vec<f64>,
}

impl Side {
    fn of(
        source: &mut dyn RowSource,
        directions: &[f64],
        (mean, offset, chosen): (&[f64], &[f64], &[bool]),
        stream: StreamOptions<'_>,
    ) -> Result<Self> {
        let (d, r) = (mean.len(), offset.len());
        let q = dense::view(directions, r, d);
        let mut centre = mean.to_vec();
        leave(&mut centre, directions, d);
        let (mut lengths, mut squares) = (vec![Vec::new(); r / 2], vec![0.0; d]);
        let (mut rows, mut n) = (UnitRows::new(source, stream)?, 0);
        loop {
            let mut block = rows.next()?;
            if block.is_empty() {
                break;
            }
            let coordinates = leave(&mut block, directions, d);
            for (row, coordinates) in block.chunks_exact(d).zip(coordinates.chunks_exact(q.nrows())) {
                squares.iter_mut().zip(row.iter().zip(&centre)).for_each(|(s, (v, c))| *s += (v - c).powi(2));
                if chosen.get(n) == Some(&true) {
                    let pairs = coordinates.chunks_exact(2).zip(offset.chunks_exact(2));
                    let length =
                        |(c, o): (&[f64], &[f64])| ((c[0] + o[0]).powi(2) + (c[1] + o[1]).powi(2) + EPSILON).sqrt();
                    lengths.iter_mut().zip(pairs.map(length)).for_each(|(plane, length)| plane.push(length));
                }
                n += 1;
            }
        }
        let deviations = squares.into_iter().map(|s| (s / (n as f64).max(1.0)).sqrt()).collect();
        Ok(Side { lengths, deviations })
    }
}

/// Leaves of rows `[n, d]` what lies in V, and returns their coordinates `[n, r]`.
fn leave(rows: &mut [f64], directions: &[f64], d: usize) -> Vec<f64> {
    let (n, r) = (rows.len() / d, directions.len() / d);
    let q = dense::view(directions, r, d);
    let mut coordinates = vec![0.0; n * r];
    dense::product_into(dense::view(rows, n, d), q.transpose(), &mut coordinates);
    dense::add_product(rows, Accum::Add, (dense::view(&coordinates, n, r), q), -1.0);
    coordinates
}

/// `D P_V`, `[d, d]`, for deviations of source and target in V.
fn scaled(directions: &[f64], (source, target): (&[f64], &[f64])) -> Vec<f64> {
    let d = source.len();
    let mut map: Vec<f64> = (0..d * d).map(|k| f64::from(u8::from(k % (d + 1) == 0))).collect();
    leave(&mut map, directions, d);
    for ((row, from), to) in map.chunks_exact_mut(d).zip(source).zip(target) {
        let factor = if *from < CONSTANT { 1.0 } else { to / (from + EPSILON) };
        row.iter_mut().for_each(|a| *a *= factor);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::geometry::Cut;
    use crate::stats::MemoryRows;

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
