//! From what queries score in collections to one scale.

use std::sync::Arc;

use rayon::prelude::*;

use super::bank::NnnOptions;
use super::distribution::Distribution;
use super::map::{Maps, RowMap};
use super::profile::Profile;
use super::screen::{Screen, Screened};
use super::{Ranking, Score};
use crate::device::{Device, Tensor};
use crate::geometry::dense;
use crate::host::{dispatch_simd, dot, real};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::stats::{Covariance, unit_rows};
use crate::{ElementType, Error, Result};

/// Items of a list that fusion looks at: what a vector database is asked for.
pub(super) const LIST: usize = 50;
/// The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).
const RRF: f64 = 60.0;
/// Queries for which a host's products are sums over rows: below this there is nothing to reuse.
const FEW_QUERIES: usize = 4;

/// Scores for queries of one kind in chosen collections, with what that needs on a device.
pub struct Scorer {
    score: Score,
    width: usize,
    names: Arc<[String]>,
    device: Device,
    query_map: RowMap,
    collections: Vec<Reference>,
    /// What a row of each collection's sample weighs among all collections' together; none where a collection is private.
    pooled: Arc<[f64]>,
}

/// What is kept of a collection.
struct Reference {
    map: RowMap,
    /// The sample's mapped rows, where the score or its cut-off asks for them.
    sample: Option<Arc<References>>,
    weights: Arc<[f64]>,
    covariance: Option<Covariance>,
    /// Mean and deviation that products are standardised by.
    standard: (f64, f64),
}

impl Reference {
    fn of(
        device: &Device,
        (score, maps): (Score, &Maps<'_>),
        name: &str,
        (profile, sampled): (&Profile, bool),
    ) -> Result<Self> {
        let (map, d) = (maps.of_collection(profile), profile.mean().len());
        let wanted = sampled && !score.of_lists() && score != Score::Z;
        let rows = wanted.then(|| map.apply(device, &profile.sample().rows(), d)).transpose()?;
        let standard = match (score, &maps.bank, &rows) {
            (Score::Standardise, Some(bank), Some(rows)) => bank.pseudo_positives(device, name, rows, d)?,
            _ => (0.0, 1.0),
        };
        let sample = rows.map(|rows| References::new(device, rows, map.width(d))).transpose()?;
        let sample = sample.map(|sample| Arc::new(if score == Score::Quantile { sample.screened() } else { sample }));
        let covariance = if score == Score::Z { profile.covariance() } else { None };
        Ok(Reference { map, sample, weights: profile.weights().into(), covariance, standard })
    }
}

/// Rows `[m, d]` that queries are multiplied with.
pub(super) struct References {
    rows: Vec<f32>,
    width: usize,
    tensor: Option<Tensor>,
    screen: Option<Screen>,
}

impl References {
    /// On the device; a host's rows stay where they are, too, for single queries.
    pub(super) fn new(device: &Device, rows: Vec<f32>, width: usize) -> Result<Self> {
        let tensor = Some(Tensor::from_f32(device, &rows, width)?);
        let rows = if device.capabilities().kind.is_gpu() { Vec::new() } else { rows };
        Ok(References { rows, width, tensor, screen: None })
    }

    /// With the rows in bytes, too, where the host has them and they are many.
    pub(super) fn screened(mut self) -> Self {
        self.screen = Screen::of(&self.rows, self.width);
        self
    }

    /// The rows in bytes.
    pub(super) fn screen(&self) -> Option<&Screen> {
        self.screen.as_ref()
    }

    /// Dot products of a query with some of the rows that the host has, in the bits of [`Self::products`] of a single query.
    pub(super) fn some(&self, query: &[f32], rows: &[usize]) -> Vec<f32> {
        let part = rows.len().div_ceil(rayon::current_num_threads()).max(64);
        let of = |i: &usize| &self.rows[i * self.width..(i + 1) * self.width];
        let parts = rows.par_chunks(part).map(|rows| dispatch_simd(Dots { query, rows: rows.iter().map(of) }));
        parts.collect::<Vec<_>>().concat()
    }

    /// Dot products of queries `[b, d]` with all rows, `[b, m]`.
    pub(super) fn products(&self, device: &Device, queries: &[f32]) -> Result<Vec<f32>> {
        let count = queries.len() / self.width;
        let Some(tensor) = self.tensor.as_ref().filter(|_| self.rows.is_empty() || count >= FEW_QUERIES) else {
            return Ok(self.few(queries));
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        let left = Tensor::from_f32(device, queries, self.width)?;
        let out = Tensor::new(device, count, tensor.rows(), ElementType::F32)?;
        let mut recorder = device.recorder();
        let operands = (Operand::new(&left), Operand::new(tensor).transposed());
        matmul::record(&mut recorder, Product::default(), operands, (&out, 0))?;
        recorder.submit()?;
        let padded: Vec<f32> = bytemuck::pod_collect_to_vec(&device.read_blocking(out.buffer())?);
        let rows = padded.chunks_exact(4 * out.width4());
        Ok(rows.take(count).flat_map(|row| &row[..tensor.rows()]).copied().collect())
    }

    /// The same, row by row on the host's cores: a single query reads the sample once, whatever the order.
    fn few(&self, queries: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(queries.len() / self.width * (self.rows.len() / self.width));
        for query in queries.chunks_exact(self.width) {
            let part = (self.rows.len() / self.width).div_ceil(rayon::current_num_threads()).max(64);
            let parts = self.rows.par_chunks(part * self.width);
            let parts = parts.map(|rows| dispatch_simd(Dots { query, rows: rows.chunks_exact(self.width) }));
            out.extend(parts.collect::<Vec<_>>().concat());
        }
        out
    }
}

struct Dots<'a, I> {
    query: &'a [f32],
    rows: I,
}

impl<'a, I: Iterator<Item = &'a [f32]>> pulp::NullaryFnOnce for Dots<'_, I> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call(self) -> Vec<f32> {
        self.rows.map(|row| real::dot(self.query, row)).collect()
    }
}

impl Scorer {
    /// For the queries of a kind ([`Ranking::kind`]) in the collections of these names; `nnn` is heeded by [`Score::Nnn`] alone.
    ///
    /// # Errors
    /// An unknown kind or collection, one that is named twice or has no two different rows; a score that needs reference queries
    /// ([`Ranking::reference_queries`]) where there are none; options out of range; a device lost or out of memory.
    pub fn of(
        ranking: &Ranking,
        device: &Device,
        (score, nnn): (Score, NnnOptions),
        kind: Option<&str>,
        collections: &[&str],
    ) -> Result<Self> {
        let profiles = collections.iter().map(|name| ranking.profile(name)).collect::<Result<Vec<_>>>()?;
        if let Some(name) = collections.iter().enumerate().find(|(i, name)| collections[..*i].contains(name)) {
            return Err(Error::argument("collection", format!("{:?} is named twice", name.1)));
        }
        let private = collections.iter().zip(&profiles).find(|(_, profile)| profile.noise().is_some());
        if let Some((name, _)) = private.filter(|_| score.needs_rows()) {
            return Err(needs_rows(score, name));
        }
        let maps = Maps::of(ranking, (score, nnn), kind)?;
        let references = collections
            .iter()
            .zip(&profiles)
            .map(|(name, profile)| Reference::of(device, (score, &maps), name, (profile, private.is_none())));
        let references = references.collect::<Result<Vec<_>>>()?;
        let pooled = profiles.iter().filter(|_| private.is_none()).flat_map(|profile| {
            let weights = profile.weights();
            let scale = profile.rows() as f64 / weights.iter().sum::<f64>();
            weights.into_iter().map(move |w| w * scale)
        });
        Ok(Scorer {
            score,
            width: ranking.width(),
            names: collections.iter().map(|name| (*name).to_owned()).collect(),
            device: device.clone(),
            query_map: maps.of_queries(),
            pooled: pooled.collect(),
            collections: references,
        })
    }

    /// Whether there is a value that a share of the items is above.
    pub(super) fn has_cutoffs(&self) -> bool {
        self.score == Score::Z || !(self.score.of_lists() || self.pooled.is_empty())
    }

    /// Which score.
    pub fn score(&self) -> Score {
        self.score
    }

    /// Where queries go before they are multiplied; unit rows stay such.
    pub fn query_map(&self) -> &RowMap {
        &self.query_map
    }

    /// Where a collection's rows go.
    ///
    /// # Errors
    /// No such collection.
    pub fn map(&self, collection: &str) -> Result<&RowMap> {
        let at = place(&self.names, collection)?;
        self.collections.get(at).map(|c| &c.map).ok_or_else(|| unknown(&self.names, collection))
    }

    /// The scale of each query; rows `[b, d]` of any norm. A zero row has the product 0 with every item, which says nothing of them.
    ///
    /// Costs a product of the queries with each sample on the device, and a sort of each query's products.
    ///
    /// # Errors
    /// No whole rows; a value that is not finite; a device lost or out of memory.
    pub fn scales(&self, queries: &[f32]) -> Result<Vec<QueryScale>> {
        check_queries(queries, self.width)?;
        let unit = unit_rows(queries, self.width);
        let count = unit.len() / self.width;
        let mut all: Vec<Vec<Scale>> = (0..count).map(|_| Vec::with_capacity(self.names.len())).collect();
        if self.score.of_lists() {
            all.iter_mut().for_each(|scales| scales.extend(self.names.iter().map(|_| Scale::List)));
        } else if self.score == Score::Z {
            for found in self.collections.iter().filter_map(|c| c.covariance.as_ref()) {
                all.iter_mut().zip(normals(&unit, self.width, found)).for_each(|(scales, one)| scales.push(one));
            }
        } else {
            self.sampled(&self.query_map.apply(&self.device, &unit, self.width)?, &mut all)?;
        }
        let scale = |scales| QueryScale { score: self.score, names: self.names.clone(), scales };
        Ok(all.into_iter().map(scale).collect())
    }

    /// Scales that are made of samples.
    fn sampled(&self, queries: &[f32], all: &mut [Vec<Scale>]) -> Result<()> {
        let samples = self.collections.iter().filter_map(|c| Some((c.sample.as_ref()?, &c.weights)));
        if self.score == Score::Quantile && queries.len() / self.width < FEW_QUERIES {
            let of = |query| samples.clone().map(move |(sample, weights)| Screened::of(sample, weights, query));
            let found: Option<Vec<Vec<Screened>>> =
                queries.chunks_exact(self.width).map(|query| of(query).collect()).collect();
            if let Some(found) = found {
                let found = found.into_iter().map(|each| each.into_iter().map(Scale::Screened).collect());
                all.iter_mut().zip(found).for_each(|(scales, one): (_, Vec<Scale>)| scales.extend(one));
                return Ok(());
            }
        }
        let products = samples.clone().map(|(sample, _)| sample.products(&self.device, queries));
        let products = products.collect::<Result<Vec<_>>>()?;
        if self.score == Score::Quantile {
            for ((_, weights), products) in samples.zip(&products) {
                let found = Distribution::of_products(products, weights);
                all.iter_mut().zip(found).for_each(|(scales, one)| scales.push(Scale::Quantile(one)));
            }
            return Ok(());
        }
        let parts: Vec<(&Vec<f32>, usize)> = products.iter().zip(samples.map(|(_, weights)| weights.len())).collect();
        let standards: Vec<(f64, f64)> = self.collections.iter().map(|c| c.standard).collect();
        all.par_iter_mut().enumerate().for_each(|(i, scales)| {
            let values = parts.iter().zip(&standards).flat_map(|((products, m), (mean, deviation))| {
                products[i * m..(i + 1) * m].iter().map(move |x| ((f64::from(*x) - mean) / deviation) as f32)
            });
            let found = Arc::new(Distribution::new(values, self.pooled.iter().copied()));
            let scale = |&(mean, deviation): &(f64, f64)| Scale::Pooled { mean, deviation, all: found.clone() };
            scales.extend(standards.iter().map(scale));
        });
        Ok(())
    }
}

/// Mean and deviation of each query's scores in a collection, in closed form.
fn normals(unit: &[f32], d: usize, found: &Covariance) -> Vec<Scale> {
    let wide: Vec<f64> = unit.iter().map(|x| f64::from(*x)).collect();
    let n = wide.len() / d;
    let mut moved = vec![0.0; wide.len()];
    dense::product_into(dense::view(&wide, n, d), dense::view(&found.matrix, d, d), &mut moved);
    let rows = wide.chunks_exact(d).zip(moved.chunks_exact(d));
    let one = |(query, moved): (&[f64], &[f64])| {
        let deviation = dot(query, moved).max(0.0).sqrt().max(1e-12);
        Scale::Normal { mean: dot(query, &found.mean), deviation }
    };
    rows.map(one).collect()
}

pub(super) fn check_queries(queries: &[f32], width: usize) -> Result<()> {
    if !queries.len().is_multiple_of(width) {
        let got = format!("{} values", queries.len());
        return Err(Error::shape("rank", "queries", format!("whole rows of {width}, as the ranking's"), got));
    }
    if let Some(at) = queries.iter().position(|x| !x.is_finite()) {
        let got = format!("{} at row {}, column {}", queries[at], at / width, at % width);
        return Err(Error::shape("rank", "queries", "finite values", got));
    }
    Ok(())
}

/// A private collection has a mean and a trace alone.
fn needs_rows(score: Score, name: &str) -> Error {
    let possible: Vec<&str> = Score::ALL.into_iter().filter(|score| !score.needs_rows()).map(Score::name).collect();
    let what =
        format!("{score} is told by rows of the collection {name:?}, which is private: a mean and a trace with noise");
    Error::argument("score", format!("{what}; choose one of {}", possible.join(", ")))
}

fn unknown(names: &[String], collection: &str) -> Error {
    Error::argument("collection", format!("{collection:?} is not among {}", names.join(", ")))
}

fn place(names: &[String], collection: &str) -> Result<usize> {
    names.iter().position(|name| name == collection).ok_or_else(|| unknown(names, collection))
}

/// A query's scale in one collection.
#[derive(Clone, Debug)]
enum Scale {
    Quantile(Distribution),
    /// The same, of which as much is computed as is asked for.
    Screened(Screened),
    Normal {
        mean: f64,
        deviation: f64,
    },
    /// The dot products less a mean, over a deviation: 0 and 1 where they are taken as they are. The distribution is that in all collections together.
    Pooled {
        mean: f64,
        deviation: f64,
        all: Arc<Distribution>,
    },
    List,
}

/// What one query's dot products come to on the common scale.
#[derive(Clone, Debug)]
pub struct QueryScale {
    score: Score,
    names: Arc<[String]>,
    scales: Vec<Scale>,
}

impl QueryScale {
    fn scale(&self, collection: &str) -> Result<&Scale> {
        let at = place(&self.names, collection)?;
        self.scales.get(at).ok_or_else(|| unknown(&self.names, collection))
    }

    /// The scores of dot products, `[n]`, with items of a collection; of mapped rows ([`Scorer::map`]) where the score moves rows. For scores of
    /// lists these are the list.
    ///
    /// # Errors
    /// No such collection; a value that is not finite.
    pub fn scores(&self, collection: &str, products: &[f64]) -> Result<Vec<f64>> {
        if let Some(at) = products.iter().position(|x| !x.is_finite()) {
            return Err(Error::shape("rank", "dot products", "finite values", format!("{} at {at}", products[at])));
        }
        Ok(match self.scale(collection)? {
            Scale::Quantile(found) => found.scores(products),
            Scale::Screened(found) => {
                found.down_to(products.iter().copied().fold(f64::INFINITY, f64::min)).scores(products)
            }
            Scale::Normal { mean, deviation } | Scale::Pooled { mean, deviation, .. } => {
                products.iter().map(|x| (x - mean) / deviation).collect()
            }
            Scale::List if self.score == Score::Rrf => reciprocal_ranks(products),
            Scale::List => fused(products),
        })
    }

    /// The dot product from which an item of a collection passes, so that some `share` of its items do: by [`Score::Quantile`] and [`Score::Z`] of each
    /// collection's items; by the others of all collections' items together, since one cut-off holds for all of them.
    ///
    /// # Errors
    /// No such collection; a share that is not between 0 and 1; a score of lists, which has no cut-off.
    pub fn cutoff(&self, collection: &str, share: f64) -> Result<f64> {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::argument("pass", format!("{share} is no share; give a number above 0 and below 1")));
        }
        Ok(match self.scale(collection)? {
            Scale::Pooled { all, .. } if all.is_empty() => {
                let problem = format!("a collection is private: without its rows {} has no cut-off", self.score);
                return Err(Error::argument("pass", problem));
            }
            Scale::Quantile(found) => found.value_at(share),
            Scale::Screened(found) => found.down_to_share(share).value_at(share),
            Scale::Pooled { mean, deviation, all } => mean + deviation * all.value_at(share),
            Scale::Normal { mean, deviation } => mean + deviation * normal_quantile(share),
            Scale::List => {
                let problem = format!("{} knows lists alone, and has no cut-off; choose another score", self.score);
                return Err(Error::argument("pass", problem));
            }
        })
    }

    /// The share of a collection's items that a query scores above this dot product; nothing for scores that say none.
    ///
    /// # Errors
    /// No such collection.
    pub fn share_above(&self, collection: &str, product: f64) -> Result<Option<f64>> {
        Ok(match self.scale(collection)? {
            Scale::Quantile(found) => Some(found.share_above(product)),
            Scale::Screened(found) => Some(found.down_to(product).share_above(product)),
            Scale::Normal { mean, deviation } => {
                Some(0.5 * libm::erfc((product - mean) / deviation / std::f64::consts::SQRT_2))
            }
            Scale::Pooled { .. } | Scale::List => None,
        })
    }
}

/// The standard normal's value that a share is above.
fn normal_quantile(share: f64) -> f64 {
    std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(2.0 * share)
}

/// Indices, largest product first, ties by lower index.
fn order(products: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..products.len()).collect();
    order.sort_by(|a, b| products[*b].total_cmp(&products[*a]));
    order
}

fn reciprocal_ranks(products: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; products.len()];
    order(products).into_iter().enumerate().for_each(|(rank, i)| out[i] = 1.0 / (RRF + 1.0 + rank as f64));
    out
}

fn fused(products: &[f64]) -> Vec<f64> {
    let best: Vec<f64> = order(products).into_iter().take(LIST).map(|i| products[i]).collect();
    let n = best.len().max(1) as f64;
    let mean = best.iter().sum::<f64>() / n;
    let deviation = (best.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    let place = |x: &f64| if deviation > 0.0 { ((x - mean) / (6.0 * deviation) + 0.5).clamp(0.0, 1.0) } else { 0.5 };
    products.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_fused_as_databases_do() {
        let list = [0.3, 0.9, 0.6];
        assert_eq!(reciprocal_ranks(&list), [1.0 / 63.0, 1.0 / 61.0, 1.0 / 62.0]);
        let deviation = 0.06f64.sqrt();
        let want = list.map(|x| (x - (0.6 - 3.0 * deviation)) / (6.0 * deviation));
        assert!(fused(&list).iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-15));
        assert_eq!(fused(&[0.5, 0.5]), [0.5, 0.5]);
    }

    #[test]
    fn normal_cutoffs_are_the_tables() {
        for (share, want) in [(0.1, 1.281_551_565_5), (0.05, 1.644_853_627), (0.01, 2.326_347_874), (0.5, 0.0)] {
            assert!((normal_quantile(share) - want).abs() < 1e-8, "{share}");
        }
    }
}
