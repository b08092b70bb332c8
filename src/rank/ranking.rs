//! What is known of every collection, and fitted to nothing else: no pairs, no training.

use std::collections::BTreeMap;

use super::prepared::Prepared;
use super::profile::Profile;
use super::{NnnOptions, Score, Scorer};
use crate::device::Device;
use crate::error::{Problem, Remedy};
use crate::io::EncoderId;
use crate::setters::setters;
use crate::stats::{MAX_COVARIANCE_WIDTH, Privacy, RowSource, StreamOptions};
use crate::{Error, Result};

/// Rows of a reference sample unless told otherwise.
pub const SAMPLE_ROWS: usize = 4096;
/// The most rows of a reference sample.
pub const MAX_SAMPLE_ROWS: usize = 1 << 20;

/// How a ranking is fitted.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RankOptions<'a> {
    /// Distinct rows of each reference sample at most, from 2.
    pub sample: usize,
    /// Which rows the samples take.
    pub seed: u64,
    /// Keeps of each collection and of each kind of query a mean and a trace with noise that hides every single row, and nothing else: what can be shared
    /// where the rows cannot. Each has this budget; a row that is in several of them spends it in each.
    pub private: Option<Privacy>,
    /// How rows are read.
    pub stream: StreamOptions<'a>,
}

impl Default for RankOptions<'_> {
    fn default() -> Self {
        RankOptions { sample: SAMPLE_ROWS, seed: 0, private: None, stream: StreamOptions::default() }
    }
}

setters! {
    RankOptions<'a> { sample: usize, seed: u64, private: Option<Privacy>, stream: StreamOptions<'a> }
}

/// A name and the rows that go by it.
pub type Named<'a, 'b> = (&'a str, &'b mut dyn RowSource);

/// Of each collection the exact mean and covariance of its unit rows and a reference sample of them; the same of kinds of queries.
///
/// It does not depend on the order of rows, on chunks, on files or on the device; parts merge to the bits of the whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    pub(super) width: usize,
    pub(super) seed: u64,
    pub(super) sample: usize,
    pub(super) collections: BTreeMap<String, Profile>,
    pub(super) queries: BTreeMap<String, Profile>,
    /// Of [`Ranking::scores`].
    pub(super) prepared: Prepared,
}

/// Names stand in files and in hits.
fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
        let problem = format!("{name:?} is no name; take letters, digits, '-' and '_', 64 bytes at most");
        return Err(Error::argument("collection", problem));
    }
    Ok(())
}

fn check_sample(rows: usize) -> Result<()> {
    match (2..=MAX_SAMPLE_ROWS).contains(&rows) {
        true => Ok(()),
        false => Err(Error::argument("sample", format!("{rows} rows; give 2 to {MAX_SAMPLE_ROWS}"))),
    }
}

/// Those that have rows.
fn with_rows<'a, 'b>(sources: &'a mut [Named<'_, 'b>]) -> Vec<Named<'a, 'a>> {
    sources
        .iter_mut()
        .filter(|(_, source)| source.rows() > 0)
        .map(|(name, source)| (*name, &mut **source as _))
        .collect()
}

/// What is kept of each source's rows.
fn profiles(
    device: &Device,
    sources: &mut [Named<'_, '_>],
    width: usize,
    options: &RankOptions<'_>,
) -> Result<BTreeMap<String, Profile>> {
    let mut all = BTreeMap::new();
    for (name, source) in sources.iter_mut() {
        check_name(name)?;
        if source.width() != width {
            let want = format!("rows of {width}, as the first collection's");
            return Err(Error::shape("rank", *name, want, format!("rows of {}", source.width())));
        }
        let sample = (options.seed, options.sample);
        let profile = match options.private {
            Some(budget) => Profile::private(device, *source, sample, (budget, options.stream))?,
            None => Profile::of(device, *source, sample, options.stream)?,
        };
        if all.insert((*name).to_owned(), profile).is_some() {
            return Err(Error::argument("collection", format!("{name:?} is given twice")));
        }
    }
    Ok(all)
}

impl Ranking {
    /// Reads each collection once, and rows of each kind of query, which need not be the queries that will be asked.
    ///
    /// A kind that is not given takes the statistics of the collection of its name: texts that ask are much like texts that answer.
    ///
    /// # Errors
    /// No collection, a bad name or one that is given twice; widths that differ; a collection without two different rows; options out of
    /// range; a NaN or an infinity, unless replaced; a file that cannot be read; a device lost or out of memory.
    pub fn fit(
        device: &Device,
        collections: &mut [Named<'_, '_>],
        queries: &mut [Named<'_, '_>],
        options: &RankOptions<'_>,
    ) -> Result<Self> {
        check_sample(options.sample)?;
        let Some((_, first)) = collections.first() else {
            return Err(Error::argument("collection", "none was given; give the rows of one or more"));
        };
        let width = first.width();
        let collections = profiles(device, collections, width, options)?;
        let queries = profiles(device, queries, width, options)?;
        let (seed, sample) = (options.seed, options.sample);
        Ok(Ranking { width, seed, sample, collections, queries, prepared: Prepared::default() })
    }

    /// Of no collection yet, for rows of a width: what parts are merged into, or rows counted batch by batch ([`Self::update`]). Such a ranking cannot be
    /// saved.
    ///
    /// # Errors
    /// A width or a size of samples that is out of range.
    pub fn empty(width: usize, sample: usize, seed: u64) -> Result<Self> {
        check_sample(sample)?;
        if !(1..=MAX_COVARIANCE_WIDTH).contains(&width) {
            return Err(Error::argument("width", format!("{width}; give 1 to {MAX_COVARIANCE_WIDTH}")));
        }
        let (collections, queries) = (BTreeMap::new(), BTreeMap::new());
        Ok(Ranking { width, seed, sample, collections, queries, prepared: Prepared::default() })
    }

    /// Counts further rows of collections and of kinds of queries, new ones among them: as if all had been given at once. Sources without rows are left out.
    ///
    /// # Errors
    /// As [`Self::fit`]; nothing is counted then.
    pub fn update(
        &mut self,
        device: &Device,
        collections: &mut [Named<'_, '_>],
        queries: &mut [Named<'_, '_>],
        stream: StreamOptions<'_>,
    ) -> Result<()> {
        let options = RankOptions { sample: self.sample, seed: self.seed, private: None, stream };
        let mut counted = Ranking::empty(self.width, self.sample, self.seed)?;
        counted.collections = profiles(device, &mut with_rows(collections), self.width, &options)?;
        counted.queries = profiles(device, &mut with_rows(queries), self.width, &options)?;
        self.merge(&counted)
    }

    /// Takes in what was fitted to other rows, of the same collections or of others: exact, in any order.
    ///
    /// # Errors
    /// Another width, seed or size of samples; a private collection and one of its name that is not. Nothing is taken in then.
    pub fn merge(&mut self, other: &Ranking) -> Result<()> {
        let of = |r: &Ranking| format!("width {}, seed {}, samples of {}", r.width, r.seed, r.sample);
        if (self.width, self.seed, self.sample) != (other.width, other.seed, other.sample) {
            return Err(Error::shape("merge", "ranking", of(self), of(other)));
        }
        // All or nothing: what was counted once is not to be counted again because its neighbour could not be.
        let merged = |mine: &BTreeMap<String, Profile>, theirs: &BTreeMap<String, Profile>| {
            let one = |(name, profile): (&String, &Profile)| -> Result<_> {
                let Some(known) = mine.get(name) else { return Ok((name.clone(), profile.clone())) };
                let mut both = known.clone();
                both.merge(profile)?;
                Ok((name.clone(), both))
            };
            theirs.iter().map(one).collect::<Result<Vec<_>>>()
        };
        let (collections, queries) =
            (merged(&self.collections, &other.collections)?, merged(&self.queries, &other.queries)?);
        self.prepared = Prepared::default();
        self.collections.extend(collections);
        self.queries.extend(queries);
        Ok(())
    }

    /// d.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether no row was counted yet.
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty() && self.queries.is_empty()
    }

    /// Distinct rows of each reference sample at most, and which rows the samples take.
    pub fn sampling(&self) -> (usize, u64) {
        (self.sample, self.seed)
    }

    /// Names of the collections, sorted, with what is known of each.
    pub fn collections(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.collections.iter().map(|(name, profile)| (&name[..], profile))
    }

    /// Kinds of queries that were fitted, sorted, with what is known of each.
    pub fn queries(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.queries.iter().map(|(name, profile)| (&name[..], profile))
    }

    /// What is known of a collection.
    ///
    /// # Errors
    /// No such collection, or one without two different rows.
    pub(super) fn profile(&self, name: &str) -> Result<&Profile> {
        let profile = self.collections.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.collections.keys().map(|name| &name[..]).collect();
            let problem = format!("{name:?} is none of those that the ranking was fitted to: {}", known.join(", "));
            Error::argument("collection", problem)
        })?;
        profile.check(name)?;
        Ok(profile)
    }

    /// All collections, sorted by name.
    pub(super) fn all(&self) -> Vec<&Profile> {
        self.collections.values().collect()
    }

    /// What is known of a kind of query: by its own rows, else by those of the collection of its name. Without a name the only kind that was
    /// fitted, else `text`.
    ///
    /// # Errors
    /// No such kind; several and no name.
    pub fn kind(&self, name: Option<&str>) -> Result<&Profile> {
        let name = match (name, self.queries.len()) {
            (Some(name), _) => name,
            (None, 0) => "text",
            (None, 1) => self.queries.keys().next().map_or("text", |name| &name[..]),
            (None, _) => {
                let names: Vec<&str> = self.queries.keys().map(|name| &name[..]).collect();
                let problem = format!("there are several kinds ({}); say which one these are", names.join(", "));
                return Err(Error::argument("queries", problem));
            }
        };
        self.queries.get(name).or_else(|| self.collections.get(name)).ok_or_else(|| {
            let known: Vec<&str> = self.queries.keys().chain(self.collections.keys()).map(|name| &name[..]).collect();
            let problem = format!("nothing is known of queries of the kind {name:?}; known are {}", known.join(", "));
            Error::argument("queries", problem)
        })
    }

    /// The reference queries of a kind: the rows of such queries that were counted by themselves. Collections do not stand in for them, for their rows
    /// are each other's best items.
    ///
    /// # Errors
    /// None of this kind; several kinds and no name.
    pub fn reference_queries(&self, kind: Option<&str>) -> Result<&Profile> {
        let found = match kind {
            None if self.queries.len() > 1 => return self.kind(None),
            None => self.queries.values().next(),
            Some(name) => self.queries.get(name),
        };
        found.filter(|profile| !profile.sample().is_empty()).ok_or_else(|| {
            let such = if found.is_some_and(|profile| profile.noise().is_some()) {
                "private queries alone"
            } else {
                "no queries"
            };
            let what = kind.map_or(such.to_owned(), |name| format!("{such} of the kind {name:?}"));
            let problem = format!("the score is held against reference queries, but the ranking was fitted to {what}");
            Error::argument("score", Problem::new(problem).remedy(Remedy::CountQueries))
        })
    }

    /// Refuses rows that are to be searched as a collection but were made by another encoder than its own: their cloud is another, even where widths
    /// agree. Rows and rankings that say nothing are taken; with `any` all are, with a warning.
    ///
    /// # Errors
    /// The encoders differ: both are named.
    pub fn check_collection_encoders(&self, name: &str, rows: &[EncoderId], any: bool) -> Result<()> {
        let known = self.collections.get(name).and_then(Profile::encoder);
        EncoderId::check(&format!("ranking's collection {name:?}"), known, rows, any)
    }

    /// As [`Self::check_collection_encoders`], for queries of a kind ([`Self::kind`]); where none is named, of any that the ranking has.
    ///
    /// # Errors
    /// The encoders differ: both are named.
    pub fn check_query_encoders(&self, kind: Option<&str>, rows: &[EncoderId], any: bool) -> Result<()> {
        let profiles = || self.queries.values().chain(self.collections.values());
        let named =
            |encoder: &EncoderId| profiles().any(|profile| profile.encoder().is_some_and(|e| e.hash == encoder.hash));
        if kind.is_none() && rows.iter().all(named) {
            return Ok(());
        }
        let unnamed = || profiles().find_map(Profile::encoder).filter(|_| kind.is_none());
        let known = self.kind(kind).ok().and_then(Profile::encoder).or_else(unnamed);
        EncoderId::check("ranking's rows of the queries' kind", known, rows, any)
    }

    /// The same of another ranking's collections and kinds of queries, of the names that both have.
    ///
    /// # Errors
    /// The encoders differ: both are named.
    pub fn check_encoders_of(&self, other: &Ranking, any: bool) -> Result<()> {
        for (mine, theirs) in [(&self.collections, &other.collections), (&self.queries, &other.queries)] {
            for (name, profile) in theirs {
                let known = mine.get(name).and_then(Profile::encoder);
                let rows: Vec<EncoderId> = profile.encoder().cloned().into_iter().collect();
                EncoderId::check(&format!("first ranking's {name:?}"), known, &rows, any)?;
            }
        }
        Ok(())
    }

    /// The scores that the ranking can give for queries of a kind in the collections of these names: all, but without reference queries those that are held
    /// against such, and of private collections those that need no rows.
    pub fn possible_scores(&self, kind: Option<&str>, collections: &[&str]) -> Vec<Score> {
        let known = self.reference_queries(kind).is_ok();
        let private = self.any_private(collections);
        let possible = |score: &Score| (known || !score.needs_queries()) && !(private && score.needs_rows());
        Score::ALL.into_iter().filter(possible).collect()
    }

    /// Whether one of the collections of these names is private.
    pub fn any_private(&self, collections: &[&str]) -> bool {
        collections.iter().filter_map(|name| self.collections.get(*name)).any(|profile| profile.noise().is_some())
    }

    /// Scores on the common scale, by [`Score::Quantile`], of what one query `[d]`, of any norm, scored in a collection: `raw` are dot products of
    /// unit rows, as a database returns them, `[n]` in any order. The first call prepares the collection, and the ranking keeps what that made; a
    /// [`Scorer`] takes many queries at a time, and other scores.
    ///
    /// # Errors
    /// Another width; a query of zeros, which has no direction; no such collection; a value that is no dot product of unit rows, which are -1 to 1.
    pub fn scores(&self, query: &[f32], collection: &str, raw: &[f32]) -> Result<Vec<f64>> {
        if query.len() != self.width {
            let got = format!("{} numbers", query.len());
            return Err(Error::shape("rank", "query", format!("one row of {}, as the ranking's", self.width), got));
        }
        // Rows of less than this count as zeros everywhere.
        if query.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() < 1e-10 {
            return Err(Error::degenerate(
                "rank: a query of zeros has no direction: no scores are those of its dot products",
            ));
        }
        // Databases that round rows to 8 bits are off by a hundredth at most.
        if let Some(x) = raw.iter().find(|x| x.abs() > 1.02) {
            let problem = format!("{x} is no dot product of unit rows, which are -1 to 1; divide by both norms");
            return Err(Error::argument("scores", problem));
        }
        let made = || {
            let score = (Score::Quantile, NnnOptions::default());
            Scorer::of(self, &Device::host(), score, None, &[collection])
        };
        let scales = self.prepared.scorer(collection, made)?.scales(query)?;
        let raw: Vec<f64> = raw.iter().map(|x| f64::from(*x)).collect();
        scales.first().map_or(Ok(Vec::new()), |scale| scale.scores(collection, &raw))
    }
}
