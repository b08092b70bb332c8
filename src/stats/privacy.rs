//! Moments that may be shared though their rows may not: the Gaussian mechanism of differential privacy on a row set's sums.
//!
//! # What is promised
//! Two row sets are neighbours if they have as many rows and differ in one of them. What is released is (ε, δ)-differentially private for neighbours: the
//! number of rows n, which they share, the sum of the unit rows and the sum of their squared norms, both with noise; and what follows
//! from these, the mean μ and the trace T. Nothing else of the file is about the rows: counts of zero rows and of replaced values are left out.
//!
//! # Sensitivity
//! A unit row u in fixed point has a norm of 1 to some 2⁻³¹, what its weight and its components were rounded by, or is zero, with a squared norm of 1 or 0. If u
//! takes the place of v, the sum of rows moves by `‖u - v‖`: at most 2 if both have a norm, while the sum of squares stays; at most 1 if one is zero, while that
//! moves by 1. The two together, a vector of d + 1 numbers, move by 2 at most, and by rounding. So the squares cost nothing. What rounding adds is counted
//! several times over: `2⁻²⁸ + (d + 2 √d) 2⁻⁴⁰`.
//!
//! # Noise
//! The sums are rounded to multiples of a power of two, of which √(d + 1), what rounding adds to the sensitivity Δ, are less than a hundredth of it, and each gets its own sample
//! of the *discrete* Gaussian of scale σ, by exact rational arithmetic (Canonne, Kamath and Steinke 2020, algorithms 1 to 3): samples in floating point have
//! holes by which sums may be told (Mironov 2012), integers have none. That is `Δ²/2σ²`-concentrated differential privacy (their theorem 14), which is
//! (ε, δ) for the least `exp((α-1)(α ρ - ε)) / (α-1) (1 - 1/α)^α` over α > 1 (their corollary 13); σ is the least that keeps it. Random bits are
//! the operating system's, never those of a seed.
//!
//! # Use
//! Noise has variance σ² in each component of the sum, `(σ/n)²` of the mean, whose squared norm it raises by `d (σ/n)²`: the trace is made
//! without that. Private moments merge with private ones, of other rows: their variances add, each part keeps its own promise. They do not merge with others, whose rows
//! would be told exactly. Each release of the same rows spends its own budget: two of
//! (ε, δ) are one of (2 ε, 2 δ).

use super::moments::Moments;
use super::summary::Summary;
use crate::error::Problem;
use crate::kernels::stats::moments::FRACTION_BITS;
use crate::{Error, Result};

/// By how much the sensitivity is more than what rounding to multiples adds to it, at least.
const FINENESS: f64 = 128.0;

/// Largest noise over sensitivity: with the widest rows scales stay below 2²⁸, which the sampler's integers hold.
const MOST_NOISE: f64 = 4000.0;

/// A budget of privacy: how much one row may tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Privacy {
    epsilon: f64,
    delta: f64,
}

impl Privacy {
    /// A budget of ε, above 0, and δ, between 0 and 1: no outcome may be more than e^ε times as likely with one row as with another, but for outcomes of
    /// probability δ. δ should be well below 1/n.
    ///
    /// # Errors
    /// ε that is not a number above 0; δ that is not between 0 and 1; budgets whose noise no sum holds.
    pub fn new(epsilon: f64, delta: f64) -> Result<Self> {
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(Error::argument("privacy", format!("ε is {epsilon}; give a number above 0, such as 1")));
        }
        if !(delta > 0.0 && delta < 1.0) {
            let problem = format!("δ is {delta}; give a number between 0 and 1, well below 1 over the number of rows");
            return Err(Error::argument("privacy", problem));
        }
        let budget = Privacy { epsilon, delta };
        let scale = budget.noise_multiplier();
        if scale >= MOST_NOISE {
            let problem = format!(
                "ε of {epsilon} and δ of {delta} ask for noise of more than {MOST_NOISE} times what a row may change; give more"
            );
            return Err(Error::argument("privacy", problem));
        }
        Ok(budget)
    }

    /// ε.
    pub fn epsilon(self) -> f64 {
        self.epsilon
    }

    /// δ.
    pub fn delta(self) -> f64 {
        self.delta
    }

    /// σ/Δ: the noise's standard deviation over the sensitivity, infinite where that is beyond what can be drawn.
    pub fn noise_multiplier(self) -> f64 {
        // δ falls as the multiplier grows.
        let keeps = |multiplier: f64| delta_of(self.epsilon, 0.5 / (multiplier * multiplier)) <= self.delta;
        let (mut low, mut high) = (0.0, 1.0);
        while !keeps(high) {
            (low, high) = (high, 2.0 * high);
            if low > MOST_NOISE {
                return f64::INFINITY;
            }
        }
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if keeps(middle) { high = middle } else { low = middle }
        }
        high
    }

    /// The multiples to which sums are rounded, as a power of two of theirs, and the noise's scale in these, for rows of width d.
    fn lattice(self, width: usize) -> (u32, u64) {
        let (d, multiplier) = (width as f64, self.noise_multiplier());
        let unit = f64::from(FRACTION_BITS).exp2();
        // In units of the sums, of which there are 2¹² in 2⁻²⁸.
        let sensitivity = 2.0 * unit + 4096.0 + d + 2.0 * d.sqrt();
        // Fine for the sensitivity, and for noise that is far below it.
        let coarsest = (sensitivity / (FINENESS * (d + 1.0).sqrt())).min(multiplier * sensitivity / 1024.0);
        let places = coarsest.log2().floor() as u32;
        let rounded = sensitivity / f64::from(places).exp2() + (d + 1.0).sqrt();
        (places, (multiplier * rounded).ceil() as u64)
    }
}

/// The least δ that (ε, δ) has under ρ-concentrated differential privacy, up to a search over α; never below it.
fn delta_of(epsilon: f64, rho: f64) -> f64 {
    let logarithm = |ln_less: f64| {
        let less = ln_less.exp();
        let alpha = 1.0 + less;
        less * (alpha * rho - epsilon) - ln_less + alpha * (-(1.0 / alpha)).ln_1p()
    };
    // One minimum in ln(α - 1): golden sections. Any α gives a δ that holds.
    let (mut low, mut high) = (-20f64, 25f64);
    let section = (5f64.sqrt() - 1.0) / 2.0;
    for _ in 0..100 {
        let (a, b) = (high - section * (high - low), low + section * (high - low));
        if logarithm(a) <= logarithm(b) { high = b } else { low = a }
    }
    logarithm(0.5 * (low + high)).exp()
}

/// What private moments say of their noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// The largest ε of the parts.
    pub epsilon: f64,
    /// The largest δ of the parts.
    pub delta: f64,
    /// Variance of each component of the sum, in units of 2⁻⁸⁰: an integer, so that merging is exact.
    pub(super) variance: u128,
}

impl Noise {
    /// Standard deviation of each component of the sum, in row lengths.
    pub fn standard_deviation(&self) -> f64 {
        self.variance().sqrt()
    }

    /// Its square.
    pub(super) fn variance(&self) -> f64 {
        self.variance as f64 / f64::from(2 * FRACTION_BITS).exp2()
    }

    /// Of sums to which both were added.
    fn and(self, other: Noise) -> Noise {
        Noise {
            epsilon: self.epsilon.max(other.epsilon),
            delta: self.delta.max(other.delta),
            variance: self.variance.saturating_add(other.variance),
        }
    }
}

impl Moments {
    /// The noise of this set's sums and another's.
    pub(super) fn merged_noise(&self, other: &Moments) -> Result<Option<Noise>> {
        match (self.noise, other.noise) {
            (Some(a), Some(b)) => Ok(Some(a.and(b))),
            (None, None) => Ok(None),
            (Some(noise), None) if other.rows == 0 => Ok(Some(noise)),
            (None, Some(noise)) if self.rows == 0 => Ok(Some(noise)),
            _ => {
                let problem = "merge: some moments are private and others are not: the sums would tell the rows of the others; \
                               count those with noise, too, or merge them apart";
                Err(Error::degenerate(problem))
            }
        }
    }

    /// These moments with noise that hides every single row, as the module's comment says: what can be shared where the rows cannot.
    ///
    /// # Errors
    /// Moments that are private already, or of moved rows; no rows; no random numbers to be had from the operating system.
    pub fn private(&self, budget: Privacy) -> Result<Moments> {
        self.with_noise_of(budget, &mut SystemBits::default())
    }

    fn with_noise_of(&self, budget: Privacy, bits: &mut dyn Bits) -> Result<Moments> {
        if self.noise.is_some() {
            return Err(Error::argument("privacy", "the moments have noise already; count the rows again".to_owned()));
        }
        if self.is_moved() {
            return Err(Error::argument(
                "privacy",
                "these are moments of moved rows; share those of the rows themselves",
            ));
        }
        if self.rows == 0 {
            return Err(Error::degenerate("privacy: there are no rows whose moments could be shared"));
        }
        let (places, scale) = budget.lattice(self.width());
        let mut noisy = |sum: i128| -> Result<i128> {
            // To the nearest multiple: neighbours' are one more apart at most.
            let multiple = if places == 0 { sum } else { (sum + (1 << (places - 1))) >> places };
            Ok((multiple + discrete_gaussian(scale, bits)?) << places)
        };
        let columns = self.columns.iter().map(|&c| noisy(c)).collect::<Result<_>>()?;
        let squares = noisy(i128::from(self.nonzero_rows) << FRACTION_BITS)?;
        let deviation = u128::from(scale) << places;
        Ok(Moments {
            rows: self.rows,
            nonzero_rows: self.rows,
            replaced: 0,
            defect: (i128::from(self.rows) << 60) - (squares << (60 - FRACTION_BITS)),
            columns,
            rests: Vec::new(),
            operator: None,
            encoder: self.encoder.clone(),
            noise: Some(Noise {
                epsilon: budget.epsilon,
                delta: budget.delta,
                variance: deviation.saturating_mul(deviation),
            }),
        })
    }
}

impl Moments {
    /// What the noise of private moments hides, if it does: a mean of unit rows is shorter than 1, and their spread above 0.
    pub(crate) fn hidden(&self) -> Option<&'static str> {
        self.noise.as_ref()?;
        match (crate::host::norm(&self.mean()) >= 1.0, self.trace() < super::TRACE_RESOLUTION) {
            (true, _) => Some("mean"),
            (false, true) => Some("spread"),
            _ => None,
        }
    }
}

impl Summary {
    /// [`Moments::private`], alone.
    ///
    /// # Errors
    /// As [`Moments::private`]; a covariance, which tells more than the budget allows.
    pub fn private(&self, budget: Privacy) -> Result<Summary> {
        if self.covariance.is_some() {
            let problem = "privacy: a covariance has no noise and would tell of single rows; count moments alone";
            return Err(Error::degenerate(Problem::new(problem)));
        }
        Ok(Summary { moments: self.moments.private(budget)?, covariance: None })
    }
}

/// Where random bits come from.
trait Bits {
    /// 64 of them.
    fn next(&mut self) -> Result<u64>;
}

/// The operating system's generator, some at a time.
#[derive(Default)]
struct SystemBits {
    held: Vec<u64>,
}

impl Bits for SystemBits {
    fn next(&mut self) -> Result<u64> {
        if self.held.is_empty() {
            self.held.resize(512, 0);
            getrandom::fill(bytemuck::cast_slice_mut(&mut self.held)).map_err(|e| {
                Error::degenerate(format!("privacy: the operating system gives no random numbers: {e}"))
            })?;
        }
        Ok(self.held.pop().unwrap_or_default())
    }
}

/// A whole number below `n`, each as likely.
fn below(n: u128, bits: &mut dyn Bits) -> Result<u128> {
    let mask = u128::MAX >> (n - 1).leading_zeros().min(127);
    loop {
        let drawn = (u128::from(bits.next()?) << 64 | u128::from(bits.next()?)) & mask;
        if drawn < n {
            return Ok(drawn);
        }
    }
}

/// True with probability `exp(-x / y)`, x and y below 2¹⁰⁰ [algorithm 1].
fn exponential(mut x: u128, y: u128, bits: &mut dyn Bits) -> Result<bool> {
    while x > y {
        if !unit_exponential(1, 1, bits)? {
            return Ok(false);
        }
        x -= y;
    }
    unit_exponential(x, y, bits)
}

/// The same for x ≤ y: of von Neumann, the parity of a run of falling chances.
fn unit_exponential(x: u128, y: u128, bits: &mut dyn Bits) -> Result<bool> {
    let mut k = 1;
    // Runs of k have the chance 1/k!: k stays small, and y k below 2¹²⁸.
    while below(y * k, bits)? < x {
        k += 1;
    }
    Ok(k % 2 == 1)
}

/// A whole number from the discrete Laplace distribution of scale t [algorithm 2].
fn discrete_laplace(t: u64, bits: &mut dyn Bits) -> Result<i128> {
    let t = u128::from(t);
    loop {
        let rest = below(t, bits)?;
        if !exponential(rest, t, bits)? {
            continue;
        }
        let mut wholes = 0;
        while unit_exponential(1, 1, bits)? {
            wholes += 1;
        }
        let size = (rest + t * wholes) as i128;
        let negative = bits.next()? & 1 == 1;
        if !(negative && size == 0) {
            return Ok(if negative { -size } else { size });
        }
    }
}

/// A whole number from the discrete Gaussian of scale σ, below 2²⁸: `exp(-x² / 2 σ²)` up to a factor [algorithm 3].
fn discrete_gaussian(sigma: u64, bits: &mut dyn Bits) -> Result<i128> {
    let t = sigma + 1;
    let (s, t2) = (u128::from(sigma) * u128::from(sigma), u128::from(t) * u128::from(t));
    loop {
        let drawn = discrete_laplace(t, bits)?;
        // (|x| - σ²/t)² / 2σ², as a fraction.
        let off = (drawn.unsigned_abs() * u128::from(t)).abs_diff(s);
        if exponential(off * off, 2 * s * t2, bits)? {
            return Ok(drawn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator with a seed: what tests repeat.
    struct Seeded(u64);

    impl Bits for Seeded {
        fn next(&mut self) -> Result<u64> {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            Ok(z ^ (z >> 31))
        }
    }

    /// χ² over its degrees of freedom, in standard deviations above what chance gives.
    fn excess(samples: &[i128], sigma: f64) -> f64 {
        let most = (4.0 * sigma) as i128;
        let weight = |k: i128| (-(k as f64).powi(2) / (2.0 * sigma * sigma)).exp();
        let whole: f64 = (-(40.0 * sigma) as i128..=(40.0 * sigma) as i128).map(weight).sum();
        let (mut chi, mut bins) = (0.0, 0);
        for k in -most..=most {
            let want = samples.len() as f64 * weight(k) / whole;
            let got = samples.iter().filter(|x| **x == k).count() as f64;
            chi += (got - want).powi(2) / want;
            bins += 1;
        }
        (chi - f64::from(bins)) / (2.0 * f64::from(bins)).sqrt()
    }

    #[test]
    fn samples_have_the_discrete_gaussian() {
        for sigma in [1, 2, 7] {
            let bits = &mut Seeded(3);
            let samples: Vec<i128> = (0..40_000).map(|_| discrete_gaussian(sigma, bits).unwrap()).collect();
            let off = excess(&samples, sigma as f64);
            assert!(off.abs() < 5.0, "scale {sigma}: {off}");
            assert!(excess(&samples, 1.05 * sigma as f64) > 5.0, "another scale is noticed");
        }
        // Of the size that sums get.
        for sigma in [100_000, (1 << 28) - 1] {
            let (n, bits) = (20_000, &mut Seeded(4));
            let drawn = |bits: &mut Seeded| discrete_gaussian(sigma, bits).unwrap() as f64 / sigma as f64;
            let samples: Vec<f64> = (0..n).map(|_| drawn(bits)).collect();
            let mean = samples.iter().sum::<f64>() / f64::from(n);
            let square = samples.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
            let fourth = samples.iter().map(|x| x.powi(4)).sum::<f64>() / f64::from(n);
            let error = 5.0 / f64::from(n).sqrt();
            assert!(mean.abs() < error && (square - 1.0).abs() < 1.5 * error && (fourth - 3.0).abs() < 10.0 * error);
        }
    }

    /// Of a Gaussian: `Φ(Δ/2σ - εσ/Δ) - e^ε Φ(-Δ/2σ - εσ/Δ)` (Balle and Wang 2018), the least that holds.
    fn exact_delta(epsilon: f64, multiplier: f64) -> f64 {
        let phi = |x: f64| 0.5 * statrs::function::erf::erfc(-x / 2f64.sqrt());
        let (half, shift) = (0.5 / multiplier, epsilon * multiplier);
        phi(half - shift) - epsilon.exp() * phi(-half - shift)
    }

    /// The conversion from concentrated privacy asks for 1.04 to 1.18 times the least noise here, most for small ε and large δ.
    #[test]
    fn budgets_are_kept_and_not_wasted() {
        for epsilon in [0.01, 0.1, 1.0, 4.0, 10.0] {
            for delta in [1e-4, 1e-6, 1e-9] {
                let multiplier = Privacy::new(epsilon, delta).unwrap().noise_multiplier();
                let (here, less) = (exact_delta(epsilon, multiplier), exact_delta(epsilon, multiplier / 1.2));
                assert!(here <= delta && less > delta, "{epsilon}, {delta}: {multiplier}, {here:e}, {less:e}");
            }
        }
    }

    #[test]
    fn scales_fit_the_sums() {
        for (epsilon, delta) in [(0.002, 1e-9), (1.0, 1e-6), (100.0, 0.1), (1e5, 0.5)] {
            let budget = Privacy::new(epsilon, delta).unwrap();
            for width in [1, 1280, 65_536] {
                let (places, scale) = budget.lattice(width);
                let deviation = scale as f64 * f64::from(places).exp2() / f64::from(FRACTION_BITS).exp2();
                let want = 2.0 * budget.noise_multiplier();
                assert!(deviation >= want && deviation <= 1.01 * want, "{epsilon}, {width}: {deviation} for {want}");
                assert!(scale < 1 << 28, "{scale}");
            }
        }
    }

    #[test]
    fn noise_has_the_promised_scale() {
        let budget = Privacy::new(1.0, 1e-6).unwrap();
        let rows = 500;
        let plain = Moments { rows, nonzero_rows: rows - 3, ..Moments::empty(2000) };
        let noisy = plain.with_noise_of(budget, &mut Seeded(5)).unwrap();
        let noise = noisy.noise().unwrap();
        let deviation = noise.standard_deviation();
        assert!((deviation / (2.0 * budget.noise_multiplier()) - 1.0).abs() < 0.01);
        let unit = f64::from(FRACTION_BITS).exp2();
        let square = noisy.columns.iter().map(|&c| (c as f64 / unit / deviation).powi(2)).sum::<f64>() / 2000.0;
        // Of 2000 samples: √(2/2000) to either side.
        assert!((square - 1.0).abs() < 5.0 * (2.0f64 / 2000.0).sqrt(), "{square}");
        // Nothing of the zero rows is left, and the squares have their own noise.
        assert_eq!((noisy.rows(), noisy.zero_rows(), noisy.replaced()), (rows, 0, 0));
        let squares = (noisy.nonzero_rows as f64 - noisy.defect as f64 / 60f64.exp2()) - (rows - 3) as f64;
        assert!(squares != 0.0 && squares.abs() < 6.0 * deviation, "{squares}");
        assert!(noisy.private(budget).unwrap_err().to_string().contains("already"));
        assert!(Moments::empty(3).private(budget).unwrap_err().to_string().contains("no rows"));
    }

    #[test]
    fn the_trace_is_made_without_the_noise() {
        // Rows of length 1 with a mean of length 0.6, 4,000 of them, in 1,000 dimensions: T is 0.64.
        let (n, d) = (4000u64, 1000);
        let mut plain = Moments { rows: n, nonzero_rows: n, ..Moments::empty(d) };
        plain.columns[0] = ((0.6 * n as f64) * f64::from(FRACTION_BITS).exp2()) as i128;
        assert!((plain.trace() - 0.64).abs() < 1e-9);
        let budget = Privacy::new(1.0, 1e-6).unwrap();
        let traces: Vec<f64> = (0..40).map(|k| plain.with_noise_of(budget, &mut Seeded(k)).unwrap().trace()).collect();
        let mean = traces.iter().sum::<f64>() / 40.0;
        // One trace is off by some 2 ‖μ‖ σ/n, σ/n and √(2 d) (σ/n)²; with the bias left in all would be d (σ/n)² too small.
        let step = 2.0 * budget.noise_multiplier() / n as f64;
        let deviation = step * (2.44 + 2.0 * d as f64 * step * step).sqrt();
        let most = 5.0 * deviation / 40f64.sqrt();
        assert!((mean - 0.64).abs() < most, "{mean}");
        assert!(d as f64 * step * step > 1.5 * most, "the noise's own part would be noticed");
    }

    #[test]
    fn bad_budgets_and_covariances() {
        for (epsilon, delta, word) in [
            (0.0, 1e-6, "ε is 0"),
            (-1.0, 1e-6, "ε is -1"),
            (f64::NAN, 1e-6, "ε is NaN"),
            (f64::INFINITY, 1e-6, "ε is inf"),
            (1.0, 0.0, "δ is 0"),
            (1.0, 1.0, "δ is 1"),
            (1.0, f64::NAN, "δ is NaN"),
            (1e-5, 1e-6, "give more"),
            (1e-12, 1e-6, "give more"),
        ] {
            let error = Privacy::new(epsilon, delta).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
