//! A sample in bytes, by which a single query finds the few rows whose products it has to know exactly.
//!
//! One query against a sample is a read of the sample: 21 MB for 4,096 rows of 1,280 in f32. What a search returned is compared with the sample's highest
//! products alone, so the query reads a byte for each number first, knows every product to within a bound that always holds, and then reads in
//! f32 the rows whose product may be high enough to count. The distribution from there on has the bits of the whole's.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::distribution::{Distribution, TAIL, tail_values};
use super::scorer::References;
use crate::host::dispatch_simd;

/// Samples of fewer numbers are read faster than they are screened.
const NUMBERS: usize = 1 << 20;
/// Numbers that are added side by side.
const LANES: usize = 32;

/// Rows `[m, d]` in bytes, each with a scale of its own.
pub(super) struct Screen {
    /// `[m, d]`.
    codes: Vec<i8>,
    /// What a code's step is, `[m]`.
    scales: Vec<f32>,
    /// How far a unit query's product with codes may be from that with the row, both in f32, `[m]`.
    bounds: Vec<f32>,
}

impl Screen {
    /// Of a sample that is large enough.
    pub fn of(rows: &[f32], width: usize) -> Option<Self> {
        (width > 0 && rows.len() >= NUMBERS).then(|| Screen::new(rows, width))
    }

    fn new(rows: &[f32], width: usize) -> Self {
        let (mut codes, count) = (vec![0i8; rows.len()], rows.len() / width);
        let mut each = vec![(0f32, 0f32); count];
        let parts = codes.par_chunks_exact_mut(width).zip(rows.par_chunks_exact(width));
        parts.zip(&mut each).for_each(|((codes, row), out)| *out = encode(row, codes));
        let (scales, bounds) = each.into_iter().unzip();
        Screen { codes, scales, bounds }
    }

    /// Bounds of the query's products with all rows, from below and from above.
    fn products(&self, query: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let norm = query.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32 * (1.0 + 1e-6);
        let part = (self.scales.len() / rayon::current_num_threads()).max(64) * query.len();
        let found = self.codes.par_chunks(part).map(|codes| dispatch_simd(Dots { query, codes })).collect::<Vec<_>>();
        let found = found.concat();
        let all = found.iter().zip(&self.scales).zip(&self.bounds);
        all.map(|((dot, scale), bound)| (dot * scale - norm * bound, dot * scale + norm * bound)).unzip()
    }
}

/// A row's codes; its scale, and the bound.
fn encode(row: &[f32], codes: &mut [i8]) -> (f32, f32) {
    let highest = row.iter().fold(0f32, |most, x| most.max(x.abs()));
    let scale = highest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let (mut residual, mut norm) = (0f64, 0f64);
    for (code, x) in codes.iter_mut().zip(row) {
        *code = (x * inverse).round().clamp(-127.0, 127.0) as i8;
        residual += (f64::from(*x) - f64::from(*code) * f64::from(scale)).powi(2);
        norm += f64::from(*x).powi(2);
    }
    // Cauchy and Schwarz for what codes leave out; twice the rounding of a sum of so many products for each of the two sums.
    let rounding = 4.0 * (row.len() + LANES) as f64 * f64::from(f32::EPSILON);
    let bound = residual.sqrt() + rounding * (norm.sqrt() + residual.sqrt());
    (scale, (bound * (1.0 + 1e-6)) as f32)
}

struct Dots<'a> {
    query: &'a [f32],
    codes: &'a [i8],
}

impl pulp::NullaryFnOnce for Dots<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call(self) -> Vec<f32> {
        self.codes.chunks_exact(self.query.len()).map(|codes| dot(self.query, codes)).collect()
    }
}

#[inline(always)]
fn dot(query: &[f32], codes: &[i8]) -> f32 {
    let mut sums = [0f32; LANES];
    let (query, rest) = query.as_chunks::<LANES>();
    let (codes, rest_codes) = codes.as_chunks::<LANES>();
    for (q, c) in query.iter().zip(codes) {
        for lane in 0..LANES {
            sums[lane] += q[lane] * f32::from(c[lane]);
        }
    }
    rest.iter().zip(rest_codes).for_each(|(q, c)| sums[0] += q * f32::from(*c));
    sums.iter().sum()
}

/// The distribution of one query's products with a sample, of which as much is computed as is asked for.
#[derive(Clone)]
pub(super) struct Screened(Arc<Query>);

struct Query {
    sample: Arc<References>,
    weights: Arc<[f64]>,
    query: Box<[f32]>,
    /// Bounds of its products, `[m]` each.
    low: Vec<f32>,
    high: Vec<f32>,
    /// As far as it is computed, with the value above which it is right.
    found: Mutex<Option<(f64, Arc<Distribution>)>>,
}

impl Screened {
    /// Of a unit query, where the sample has a screen.
    pub fn of(sample: &Arc<References>, weights: &Arc<[f64]>, query: &[f32]) -> Option<Self> {
        let (low, high) = sample.screen()?.products(query);
        let (sample, weights, query) = (sample.clone(), weights.clone(), query.into());
        Some(Screened(Arc::new(Query { sample, weights, query, low, high, found: Mutex::default() })))
    }

    /// The distribution, right at `x` and above it.
    pub fn down_to(&self, x: f64) -> Arc<Distribution> {
        let mut found = self.0.found.lock().unwrap_or_else(PoisonError::into_inner);
        match &*found {
            Some((above, known)) if *above < x || *above == f64::NEG_INFINITY => known.clone(),
            _ => found.insert(self.0.distribution(x)).1.clone(),
        }
    }

    /// The distribution, right where shares up to this one are above.
    pub fn down_to_share(&self, share: f64) -> Arc<Distribution> {
        let found = self.down_to(self.0.value_below(share));
        // Where weights are very uneven.
        if found.share_above(found.lowest()) > share { found } else { self.down_to(f64::NEG_INFINITY) }
    }
}

impl Query {
    /// A value that more than this share of the weight is above, and as many values as a tail needs and one more; minus infinity if there is none.
    fn value_below(&self, share: f64) -> f64 {
        let mut order: Vec<u32> = (0..self.low.len() as u32).collect();
        let total: f64 = self.weights.iter().sum();
        let value = |i: &u32| self.low[*i as usize];
        let descending = |a: &u32, b: &u32| value(b).total_cmp(&value(a));
        // Sorted as far as it is likely to be needed.
        let few = ((order.len() as f64 * share.max(TAIL)) as usize).saturating_mul(2).saturating_add(64);
        if few < order.len() {
            order.select_nth_unstable_by(few, descending);
            order[..few].sort_unstable_by(descending);
            order[few..].sort_unstable_by(descending);
        } else {
            order.sort_unstable_by(descending);
        }
        let weight = |i: &u32| self.weights[*i as usize];
        let tail = tail_values(order.iter().map(weight), total);
        let mut above = 0.0;
        let beyond = order.iter().position(|i| {
            let enough = above > share * total;
            above += weight(i);
            enough
        });
        let at = beyond.map_or(order.len(), |at| at.max(tail + 1));
        order.get(at).map_or(f64::NEG_INFINITY, |i| f64::from(value(i)))
    }

    /// Computes every product that may be `x` or above, those of a tail, and one below; and says above what the distribution is right.
    fn distribution(&self, x: f64) -> (f64, Arc<Distribution>) {
        let below = self.low.iter().zip(&self.high).filter(|(_, high)| f64::from(**high) < x);
        let next = below.map(|(low, _)| f64::from(*low)).fold(f64::NEG_INFINITY, f64::max);
        let from = next.min(self.value_below(TAIL));
        if from > f64::NEG_INFINITY
            && let Some(top) = self.top(from)
        {
            return (top.lowest(), Arc::new(top));
        }
        let all: Vec<usize> = (0..self.high.len()).collect();
        let products = self.sample.some(&self.query, &all).into_iter();
        (f64::NEG_INFINITY, Arc::new(Distribution::new(products, self.weights.iter().copied())))
    }

    /// Of the products from this one on; nothing if they are too few for a tail.
    fn top(&self, from: f64) -> Option<Distribution> {
        let chosen: Vec<usize> = (0..self.high.len()).filter(|i| f64::from(self.high[*i]) >= from).collect();
        let products = self.sample.some(&self.query, &chosen);
        let all = products.iter().zip(&chosen).filter(|(product, _)| f64::from(**product) >= from);
        let (values, weights): (Vec<f32>, Vec<f64>) = all.map(|(product, i)| (*product, self.weights[*i])).unzip();
        Distribution::of_top(values.into_iter(), weights.into_iter(), self.weights.iter().sum())
    }
}

impl fmt::Debug for Screened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Screened({} rows)", self.0.low.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::host::real;
    use crate::host::split_mix::{STEP, mix};

    /// Unit rows around a mean of some length.
    fn rows(count: usize, width: usize, seed: u64) -> Vec<f32> {
        let mut state = mix(seed);
        let mut next = || {
            state = state.wrapping_add(STEP);
            (mix(state) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let mut out: Vec<f32> =
            (0..count * width).map(|i| next() + if i % width < width / 9 { 0.7 } else { 0.0 }).collect();
        out.chunks_exact_mut(width).for_each(|row| {
            let norm = real::dot(row, row).sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        });
        out
    }

    #[test]
    fn bounds_hold() {
        for width in [1, 31, 32, 100, 513] {
            let (mut sample, query) = (rows(300, width, 3), rows(1, width, 4));
            sample[..width].fill(0.0);
            let (low, high) = Screen::new(&sample, width).products(&query);
            for (i, row) in sample.chunks_exact(width).enumerate() {
                let product = real::dot(&query, row);
                assert!((low[i]..=high[i]).contains(&product), "{width} {i}: {} {product} {}", low[i], high[i]);
                assert!(high[i] - low[i] < 0.03, "{width} {i}: {} to {}", low[i], high[i]);
            }
        }
    }

    #[test]
    fn what_is_asked_for_has_the_bits_of_the_whole() {
        let (count, width) = (4096, 260);
        let sample = rows(count, width, 1);
        let device = Device::host();
        let references = Arc::new(References::new(&device, sample, width).unwrap().screened());
        for uneven in [1, 7, 4000] {
            let weights: Arc<[f64]> = (0..count).map(|i| if i % 10 == 0 { f64::from(uneven) } else { 1.0 }).collect();
            for query in rows(3, width, 2).chunks_exact(width) {
                let whole = Distribution::new(
                    references.products(&device, query).unwrap().into_iter(),
                    weights.iter().copied(),
                );
                let screened = || Screened::of(&references, &weights, query).unwrap();
                let once = screened();
                for i in (-20..60).rev() {
                    let x = whole.value_at(0.5) + f64::from(i) * 0.005;
                    let want = whole.ln_share_above(x).to_bits();
                    assert_eq!(screened().down_to(x).ln_share_above(x).to_bits(), want, "{uneven} {i}");
                    assert_eq!(once.down_to(x).ln_share_above(x).to_bits(), want, "{uneven} {i}, after others");
                }
                for share in [0.999, 0.6, 0.1, 0.02, 1e-3, 1e-6] {
                    assert_eq!(
                        screened().down_to_share(share).value_at(share),
                        whole.value_at(share),
                        "{uneven} {share}"
                    );
                }
                assert!(once.down_to(f64::INFINITY).ln_share_above(2.0) < -10.0);
            }
        }
    }

    #[test]
    fn few_products_are_computed_for_what_a_search_returns() {
        let references = Arc::new(References::new(&Device::host(), rows(4096, 260, 1), 260).unwrap().screened());
        let weights: Arc<[f64]> = vec![1.0; 4096].into();
        let query = rows(1, 260, 2);
        let screened = Screened::of(&references, &weights, &query).unwrap();
        let top = screened.down_to(screened.0.value_below(0.01));
        assert!(top.share_above(top.lowest()) < 0.2, "{}", top.share_above(top.lowest()));
    }
}
