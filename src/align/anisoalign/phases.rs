//! How the target's phases lie, and the potential that draws phases there [4.3, equations 3 and 4; A.8].

use faer::Mat;

use super::sides::EPSILON;
use crate::geometry::dense;
use crate::geometry::rows::count;
use crate::{Error, Result};

/// p: partners that each plane keeps, those of largest `A`. The paper gives no number.
pub const NEIGHBOURS: usize = 8;
/// Rows of a block of sums.
const BLOCK: usize = 4096;

/// Statistics of the target's phases θ in m planes: `M_kl = E e^(i (θ_k - θ_l))`, and the potential
/// `Ψ(φ) = Σ_k α_k (1 - cos(φ_k - ψ_k)) + Σ_E A_kl (1 - cos(φ_k - φ_l - η_kl))`, whose sum is over pairs of neighbours: each plane keeps the 8 partners of
/// largest `|M|`, and a pair is one where either keeps the other. The paper does not say how many.
#[derive(Clone, Debug, PartialEq)]
pub struct Phases {
    /// `A_kl = |M_kl|` of neighbours, 0 of others, `[m, m]`, symmetric.
    pub coherence: Vec<f64>,
    /// `η_kl = arg M_kl` of neighbours, 0 of others, `[m, m]`, antisymmetric.
    pub offset: Vec<f64>,
    /// `ψ_k = arg E e^(i θ_k)`, `[m]`.
    pub anchor: Vec<f64>,
    /// `α_k = E ρ_k² / (Σ E ρ_u² + 1e-12)`, `[m]`.
    pub weight: Vec<f64>,
}

impl Phases {
    /// Of points `[n, 2 m]`, row-major, coordinates 2 k and 2 k + 1 those of plane k, with so many partners kept.
    ///
    /// # Errors
    /// No planes; no whole rows, or none.
    pub fn of(points: &[f64], planes: usize, neighbours: usize) -> Result<Phases> {
        let n = count("phases", "points", points, planes.saturating_mul(2))?;
        if n == 0 {
            return Err(Error::degenerate("phases: no points".to_owned()));
        }
        let mut sums = Sums::new(planes);
        points.chunks(2 * planes * BLOCK).for_each(|block| sums.add(block));
        Ok(sums.finish(n, neighbours))
    }

    /// m.
    pub fn planes(&self) -> usize {
        self.anchor.len()
    }

    /// Refuses fields that do not fit each other, or `planes`.
    pub(super) fn check(&self, planes: usize) -> Result<()> {
        let square = planes.checked_mul(planes);
        let squares = [&self.coherence, &self.offset].iter().all(|v| Some(v.len()) == square);
        match squares && self.anchor.len() == planes && self.weight.len() == planes {
            true => Ok(()),
            false => Err(Error::shape("apply", "phases", format!("statistics of {planes} planes"), "others")),
        }
    }

    /// Whether the numbers can be statistics: symmetric as said, shares, angles.
    pub(super) fn sound(&self) -> bool {
        let m = self.planes();
        let angle = |x: &f64| x.abs() <= std::f64::consts::PI + 1e-9;
        let share = |x: &f64| (0.0..=1.0 + 1e-9).contains(x);
        let pairs = (0..m * m).all(|at| {
            let back = at % m * m + at / m;
            self.coherence[at] == self.coherence[back] && self.offset[at] == -self.offset[back]
        });
        pairs
            && self.coherence.iter().chain(&self.weight).all(share)
            && self.offset.iter().chain(&self.anchor).all(angle)
    }

    /// Pairs of neighbours, the first plane below the second.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let m = self.planes();
        let all = (0..m).flat_map(move |k| (k + 1..m).map(move |l| (k, l)));
        all.filter(move |(k, l)| self.coherence[k * m + l] > 0.0)
    }

    /// The parts of ∇Ψ as a linear function of features: a matrix `[2 m, width]` whose columns from 2 m on are 0, and a row `[2 m]` to add. With p and q of
    /// plane k at 2 k and 2 k + 1, and cosines and sines of phases at the same places of the features, `[∇Ψ]_k = p_k sin φ_k - q_k cos φ_k`.
    pub(super) fn parts(&self, width: usize) -> (Vec<f64>, Vec<f64>) {
        let m = self.planes();
        let (mut matrix, mut row) = (vec![0.0; 2 * m * width], vec![0.0; 2 * m]);
        for k in 0..m {
            for l in 0..m {
                let (sine, cosine) = self.offset[k * m + l].sin_cos();
                let [sine, cosine] = [sine, cosine].map(|x| self.coherence[k * m + l] * x);
                let at = 2 * k * width + 2 * l;
                (matrix[at], matrix[at + 1]) = (cosine, -sine);
                (matrix[at + width], matrix[at + width + 1]) = (sine, cosine);
            }
            let (sine, cosine) = self.anchor[k].sin_cos();
            (row[2 * k], row[2 * k + 1]) = (self.weight[k] * cosine, self.weight[k] * sine);
        }
        (matrix, row)
    }

    /// Sums over neighbours as a matrix `[2 m, 2 m]`, of coordinates.
    pub(super) fn graph(&self) -> Vec<f64> {
        let m = self.planes();
        let mut matrix = vec![0.0; 4 * m * m];
        for (k, l) in self.pairs() {
            for (i, j) in [(2 * k, 2 * l), (2 * k + 1, 2 * l + 1)] {
                (matrix[2 * m * i + j], matrix[2 * m * j + i]) = (1.0, 1.0);
            }
        }
        matrix
    }
}

/// Sums over points.
struct Sums {
    planes: usize,
    /// Of products of cosines, and of sines: the real part of n M, `[m, m]`.
    real: Mat<f64>,
    /// Its imaginary part.
    imaginary: Mat<f64>,
    /// Of cosines and sines, `[2 m]`.
    directions: Vec<f64>,
    /// Of squared lengths, `[m]`.
    squares: Vec<f64>,
}

impl Sums {
    fn new(planes: usize) -> Self {
        let zeros = || Mat::zeros(planes, planes);
        let (directions, squares) = (vec![0.0; 2 * planes], vec![0.0; planes]);
        Sums { planes, real: zeros(), imaginary: zeros(), directions, squares }
    }

    fn add(&mut self, points: &[f64]) {
        let m = self.planes;
        let n = points.len() / (2 * m);
        let (mut cosines, mut sines) = (Vec::with_capacity(n * m), Vec::with_capacity(n * m));
        for (i, point) in points.chunks_exact(2).enumerate() {
            let square = point[0] * point[0] + point[1] * point[1];
            let length = square.sqrt();
            let (c, s) = if square < 1e-36 { (1.0, 0.0) } else { (point[0] / length, point[1] / length) };
            cosines.push(c);
            sines.push(s);
            self.squares[i % m] += square;
            self.directions[2 * (i % m)] += c;
            self.directions[2 * (i % m) + 1] += s;
        }
        let (c, s) = (dense::view(&cosines, n, m), dense::view(&sines, n, m));
        self.real += dense::product(c.transpose(), c) + dense::product(s.transpose(), s);
        self.imaginary += dense::product(s.transpose(), c) - dense::product(c.transpose(), s);
    }

    fn finish(self, n: usize, neighbours: usize) -> Phases {
        let m = self.planes;
        // Symmetric to the bit: of each pair the first's sums.
        let of = |k: usize, l: usize| {
            let (a, b) = (k.min(l), k.max(l));
            let sign = if k <= l { 1.0 } else { -1.0 };
            (self.real[(a, b)] / n as f64, sign * self.imaginary[(a, b)] / n as f64)
        };
        let size = |k, l| {
            let (re, im): (f64, f64) = of(k, l);
            re.hypot(im)
        };
        let mut kept = vec![false; m * m];
        for k in 0..m {
            let mut partners: Vec<usize> = (0..m).filter(|&l| l != k).collect();
            partners.sort_by(|&a, &b| size(k, b).total_cmp(&size(k, a)));
            for &l in partners.iter().take(neighbours) {
                (kept[k * m + l], kept[l * m + k]) = (true, true);
            }
        }
        let pairs = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..m * m).map(|at| if kept[at] { f(at / m, at % m) } else { 0.0 }).collect()
        };
        let angle = |k: usize, l: usize| {
            let (re, im) = of(k.min(l), k.max(l));
            if k <= l { im.atan2(re) } else { -im.atan2(re) }
        };
        let total: f64 = self.squares.iter().sum::<f64>() / n as f64 + EPSILON;
        Phases {
            coherence: pairs(&size),
            offset: pairs(&angle),
            anchor: self.directions.chunks_exact(2).map(|d| d[1].atan2(d[0])).collect(),
            weight: self.squares.iter().map(|s| s / n as f64 / total).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::gaussian::normals;

    /// Ψ, as the paper prints it.
    fn potential(phases: &Phases, at: &[f64]) -> f64 {
        let m = phases.planes();
        let anchors = (0..m).map(|k| phases.weight[k] * (1.0 - (at[k] - phases.anchor[k]).cos()));
        let pairs = phases.pairs().map(|(k, l)| {
            let i = k * m + l;
            phases.coherence[i] * (1.0 - (at[k] - at[l] - phases.offset[i]).cos())
        });
        anchors.sum::<f64>() + pairs.sum::<f64>()
    }

    fn points(n: usize, planes: usize) -> Vec<f64> {
        normals(2 * n * planes, 3, 4).into_iter().map(|x| f64::from(x) + 0.3).collect()
    }

    #[test]
    fn the_drift_is_the_potential_s_gradient() {
        for (planes, neighbours) in [(1, 8), (2, 8), (5, 2), (12, 8), (6, 0)] {
            let phases = Phases::of(&points(40, planes), planes, neighbours).unwrap();
            phases.check(planes).unwrap();
            assert!(phases.sound());
            let width = 3 * planes + 2;
            let (matrix, row) = phases.parts(width);
            let at: Vec<f64> = (0..planes).map(|k| (k as f64 * 1.7).sin() * 3.0).collect();
            let part = |i: usize| {
                let of =
                    |l: usize| matrix[i * width + 2 * l] * at[l].cos() + matrix[i * width + 2 * l + 1] * at[l].sin();
                row[i] + (0..planes).map(of).sum::<f64>()
            };
            for k in 0..planes {
                let drift = part(2 * k) * at[k].sin() - part(2 * k + 1) * at[k].cos();
                let moved = |by: f64| {
                    let mut at = at.clone();
                    at[k] += by;
                    potential(&phases, &at)
                };
                // A step's error is h² times a third derivative, and u Ψ / h.
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((drift - slope).abs() < 1e-8, "{planes} {k}: {drift} {slope}");
            }
            assert!((0..2 * planes).all(|i| matrix[i * width + 2 * planes..][..planes + 2].iter().all(|x| *x == 0.0)));
        }
    }

    #[test]
    fn statistics_are_sums_over_points_however_they_are_cut() {
        let (n, planes) = (BLOCK + 300, 3);
        let points = points(n, planes);
        let phases = Phases::of(&points, planes, 8).unwrap();
        let angle = |i: usize, k: usize| points[2 * (i * planes + k) + 1].atan2(points[2 * (i * planes + k)]);
        let mean = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        for (k, l) in [(0, 1), (0, 2), (1, 2)] {
            let (re, im) = (mean(&|i| (angle(i, k) - angle(i, l)).cos()), mean(&|i| (angle(i, k) - angle(i, l)).sin()));
            assert!((phases.coherence[k * planes + l] - re.hypot(im)).abs() < 1e-12);
            assert!((phases.offset[k * planes + l] - im.atan2(re)).abs() < 1e-10);
        }
        assert!((phases.anchor[1] - mean(&|i| angle(i, 1).sin()).atan2(mean(&|i| angle(i, 1).cos()))).abs() < 1e-12);
        assert!((phases.weight.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(Phases::of(&[], 2, 8).is_err() && Phases::of(&[1.0], 2, 8).is_err() && Phases::of(&[], 0, 8).is_err());
    }
}
