//! The planes of AnisoAlign: where rows lie in them, how far from the origin those of the other side do, and what is learnt of both [arXiv 2605.07825, 4.2
//! and 4.4].

use faer::Accum;
use rayon::prelude::*;

use super::anisoalign::{Refinement, RefinementOn};
use crate::Result;
use crate::device::{Device, Recorder, Tensor};
use crate::geometry::dense;
use crate::host::align::radial::{Knots, stretch};
use crate::kernels::align::radial as kernel;
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::{ElementType, Error};

/// Quantiles of a plane's lengths, where there are as many rows.
pub(super) const KNOTS: usize = 1025;
/// Knots that are closer, as a share of the longest, are equal up to rounding: of f64 sums that are some 1e-16 √d.
const TIE: f64 = 1e-9;

/// Planes of two orthonormal directions each, and in each a monotone map of lengths: of a unit row u the coordinates `Q u + offset` keep their
/// angle in each plane, and their length goes from the source's quantile to the target's at the same level. A refinement then turns and stretches them.
#[derive(Clone, Debug, PartialEq)]
pub struct Radial {
    /// Q of m planes, `[2 m, d]`, row-major, orthonormal: directions 2 k and 2 k + 1 span plane k.
    pub directions: Vec<f64>,
    /// `Q (μ_x - μ_y)`, `[2 m]`.
    pub offset: Vec<f64>,
    /// The source's quantiles at equal levels from 0 to 1, `[m, k]`, each row ascending.
    pub source: Vec<f64>,
    /// The target's, `[m, k]`.
    pub target: Vec<f64>,
    /// What was learnt; `None` of the initialisation alone.
    pub refinement: Option<Refinement>,
}

impl Radial {
    pub(super) fn new(
        directions: Vec<f64>,
        (mean_source, mean_target): (&[f64], &[f64]),
        (source, target): (Vec<f64>, Vec<f64>),
    ) -> Self {
        let gap: Vec<f64> = mean_target.iter().zip(mean_source).map(|(x, y)| x - y).collect();
        let offset = directions.chunks_exact(gap.len().max(1)).map(|q| crate::host::dot(q, &gap)).collect();
        Radial { directions, offset, source, target, refinement: None }
    }

    /// m.
    pub fn planes(&self) -> usize {
        self.offset.len() / 2
    }

    /// k: quantiles of a plane.
    pub fn knots(&self) -> usize {
        self.source.len() / self.planes().max(1)
    }

    /// Refuses fields that do not fit each other, or rows of width `d`.
    pub(super) fn check(&self, d: usize) -> Result<()> {
        let (m, k) = (self.planes(), self.knots());
        let directions = (2 * m).checked_mul(d) == Some(self.directions.len());
        let fits = m > 0 && k > 0 && self.offset.len() == 2 * m && directions;
        if !fits || self.source.len() != m * k || self.target.len() != m * k {
            let got = format!(
                "{} values of directions, an offset of {}, {} and {} quantiles",
                self.directions.len(),
                self.offset.len(),
                self.source.len(),
                self.target.len()
            );
            let want = format!("directions [2 m, {d}], an offset [2 m], quantiles [m, k], m and k at least 1");
            return Err(Error::shape("apply", "planes", want, got));
        }
        self.refinement.as_ref().map_or(Ok(()), |refinement| refinement.check(m, d))
    }

    /// Adds to `out`, which holds what rows become outside of the planes but for `shift`, what unit rows `[n, d]` become in them; both row-major.
    pub(super) fn add(&self, rows: &[f64], shift: &[f64], out: &mut [f64]) {
        let d = shift.len();
        let (n, r) = (rows.len() / d, self.offset.len());
        let q = dense::view(&self.directions, r, d);
        let mut coordinates = vec![0.0; n * r];
        dense::product_into(dense::view(rows, n, d), q.transpose(), &mut coordinates);
        let Radial { offset, source, target, .. } = self;
        stretch(&Knots { offset, source, target, knots: self.knots() }, &mut coordinates, r);
        if let Some(refinement) = &self.refinement {
            let mut rest = out.to_vec();
            for row in rest.chunks_exact_mut(d) {
                row.iter_mut().zip(shift).for_each(|(v, s)| *v += s);
            }
            refinement.turn(&mut coordinates, &rest);
        }
        dense::add_product(out, Accum::Add, (dense::view(&coordinates, n, r), q), 1.0);
    }

    /// The planes on a device, in f32.
    pub(super) fn on(&self, device: &Device, d: usize) -> Result<RadialOn> {
        let directions: Vec<f32> = self.directions.iter().map(|&x| x as f32).collect();
        Ok(RadialOn {
            directions: Tensor::from_f32(device, &directions, d)?,
            planes: kernel::Planes::new(device, &self.offset, (&self.source, &self.target))?,
            refinement: self.refinement.as_ref().map(|refinement| refinement.on(device)).transpose()?,
        })
    }
}

/// See [`Radial::on`].
pub(super) struct RadialOn {
    /// `[2 m, d]`.
    directions: Tensor,
    planes: kernel::Planes,
    refinement: Option<RefinementOn>,
}

impl RadialOn {
    /// Records that what the first `rows` rows of `unit` become in the planes is added to `out`, which holds what they become outside of them.
    pub(super) fn record(&self, recorder: &mut Recorder, unit: &Tensor, rows: usize, out: &Tensor) -> Result<()> {
        let device = recorder.device().clone();
        let coordinates = Tensor::new(&device, rows, self.directions.rows(), ElementType::F32)?;
        let directions = Operand::new(&self.directions);
        let projected = (Operand::new(unit).rows(0, rows), directions.transposed());
        matmul::record(recorder, Product::default(), projected, (&coordinates, 0))?;
        kernel::record(recorder, &self.planes, &coordinates, rows)?;
        let coordinates = match &self.refinement {
            Some(refinement) => refinement.record(recorder, &coordinates, &out.first_rows(rows)?)?,
            None => coordinates,
        };
        let product = Product { accumulate: true, ..Product::default() };
        matmul::record(recorder, product, (Operand::new(&coordinates), directions), (out, 0))
    }
}

/// Quantiles of each plane's lengths at `knots` equal levels from 0 to 1, linear between neighbours, `[m, knots]`.
pub(super) fn quantiles(lengths: &mut [Vec<f64>], knots: usize) -> Vec<f64> {
    let one = |lengths: &mut Vec<f64>| -> Vec<f64> {
        lengths.sort_unstable_by(f64::total_cmp);
        let last = lengths.len().saturating_sub(1);
        let at = |i: usize| {
            let place = last as f64 * (i as f64 / (knots - 1).max(1) as f64);
            let low = (place as usize).min(last);
            let (a, b) = (lengths[low], lengths[(low + 1).min(last)]);
            // Rounding must not pass the next: tables are ascending.
            (a + (b - a) * (place - low as f64)).min(b)
        };
        (0..knots).map(at).collect()
    };
    lengths.par_iter_mut().flat_map_iter(one).collect()
}

/// Gives knots of `source` that are equal up to rounding, as rows that occur more than once make them, the mean of what they have in `target`;
/// both `[m, knots]`. Which of them a length meets would else be left to rounding.
pub(super) fn even_out(source: &[f64], target: &mut [f64], knots: usize) {
    for (source, target) in source.chunks_exact(knots).zip(target.chunks_exact_mut(knots)) {
        let apart = TIE * source[knots - 1];
        let mut first = 0;
        for run in source.chunk_by(|a, b| b - a <= apart) {
            let wanted = &mut target[first..first + run.len()];
            let (least, most) = (wanted[0], wanted[run.len() - 1]);
            // Rounding must not pass the next: tables are ascending.
            wanted.fill((wanted.iter().sum::<f64>() / run.len() as f64).max(least).min(most));
            first += run.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_knots_have_one_image() {
        let source = [1.0, 2.0, 2.0 + 1e-15, 3.0, 0.5, 0.6, 0.7, 0.7];
        let mut target = [1.0, 2.0, 4.0, 5.0, 1.0, 2.0, 3.0, 4.0];
        even_out(&source, &mut target, 4);
        assert_eq!(target, [1.0, 3.0, 3.0, 5.0, 1.0, 2.0, 3.5, 3.5]);
    }

    #[test]
    fn quantiles_are_linear_between_neighbours() {
        let mut lengths = vec![vec![4.0, 1.0, 2.0], vec![5.0; 3]];
        assert_eq!(quantiles(&mut lengths, 5), [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0, 5.0]);
        assert_eq!(quantiles(&mut [vec![3.0, 1.0]], 1), [1.0]);
        // Never above the next: a table is ascending to the bit.
        let mut random = vec![(0..1000).map(|i| (f64::from(i) * 0.7).sin().abs()).collect::<Vec<f64>>()];
        assert!(quantiles(&mut random, 1025).is_sorted());
    }
}
