//! Search over several collections.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use realign::rank::{Named, NnnOptions, RankOptions, Ranking as Profiles, Score, SearchOptions, read_queries, search};
use realign::stats::{NonFinite, RowSource};

use crate::devices::{device, device_for_halves};
use crate::errors::{input, parsed, raised};
use crate::options::options;
use crate::rows::{Filled, Reading, Rows, Source, check_width};
use crate::work::{self, Stop};

/// What mixed search knows of its collections.
#[pyclass(frozen, module = "realign._realign")]
pub struct Ranking {
    inner: Mutex<Profiles>,
}

/// Names and their rows.
type Sets<'py> = Vec<(String, Bound<'py, PyAny>)>;

fn open(sets: &Sets<'_>, reading: &Reading) -> PyResult<Vec<(String, Rows)>> {
    sets.iter().map(|(name, rows)| Ok((name.clone(), Rows::of(rows, name, reading)?))).collect()
}

fn sources<'a>(sets: &'a [(String, Rows)], stop: &'a Stop) -> realign::Result<Vec<Source<'a>>> {
    sets.iter().map(|(_, rows)| rows.source(stop)).collect()
}

fn named<'a, 'b>(sets: &'a [(String, Rows)], sources: &'b mut [Source<'_>]) -> Vec<Named<'a, 'b>> {
    sets.iter().zip(sources).map(|((name, _), rows)| (&name[..], rows as &mut dyn RowSource)).collect()
}

options! {
    /// How collections are searched.
    struct SearchArgs {
        score: String,
        kind: Option<String>,
        top: usize,
        share: Option<f64>,
        nnn_alpha: Option<f64>,
        nnn_neighbours: Option<usize>,
        any_encoder: bool,
    }
}

/// Query, rank, collection, row, product, score: a column each.
type Hits<'py> = (Vec<u64>, Vec<u64>, Vec<u64>, Vec<u64>, Bound<'py, PyAny>, Bound<'py, PyAny>);

impl Ranking {
    fn of(inner: Profiles) -> Self {
        Ranking { inner: Mutex::new(inner) }
    }

    fn held(&self) -> MutexGuard<'_, Profiles> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A snapshot, so that no lock is held while there is work.
    fn profiles(&self) -> Profiles {
        self.held().clone()
    }

    fn take_in(&self, other: &Profiles, any_encoder: bool) -> realign::Result<()> {
        let mut mine = self.held();
        mine.check_encoders_of(other, any_encoder)?;
        mine.merge(other)
    }
}

#[pymethods]
impl Ranking {
    #[staticmethod]
    fn fit(
        py: Python<'_>,
        collections: Sets<'_>,
        queries: Sets<'_>,
        sample: usize,
        seed: u64,
        reading: Reading,
        device_name: &str,
    ) -> PyResult<Self> {
        let (collections, queries) = (open(&collections, &reading)?, open(&queries, &reading)?);
        let options = RankOptions::default().sample(sample).seed(seed).stream(reading.stream()?);
        let device = device_for_halves(py, device_name)?;
        let inner = work::run(py, false, |stop| {
            let (mut items, mut asked) = (sources(&collections, stop)?, sources(&queries, stop)?);
            let queries = &mut named(&queries, &mut asked);
            Profiles::fit(&device, &mut named(&collections, &mut items), queries, &options)
        })?;
        Ok(Self::of(inner))
    }

    #[staticmethod]
    fn empty(width: usize, sample: usize, seed: u64) -> PyResult<Self> {
        Ok(Self::of(Profiles::empty(width, sample, seed).map_err(raised)?))
    }

    /// Counts further rows; on an error none.
    fn update(
        &self,
        py: Python<'_>,
        collections: Sets<'_>,
        queries: Sets<'_>,
        any_encoder: bool,
        reading: Reading,
        device_name: &str,
    ) -> PyResult<()> {
        let (collections, queries) = (open(&collections, &reading)?, open(&queries, &reading)?);
        let (width, (sample, seed)) = (self.width(), self.held().sampling());
        for (name, rows) in collections.iter().chain(&queries) {
            check_width(rows, name, (width, "the ranking"))?;
        }
        let (stream, device) = (reading.stream()?, device_for_halves(py, device_name)?);
        work::run(py, false, |stop| {
            let (mut items, mut asked) = (sources(&collections, stop)?, sources(&queries, stop)?);
            let mut counted = Profiles::empty(width, sample, seed)?;
            counted.update(&device, &mut named(&collections, &mut items), &mut named(&queries, &mut asked), stream)?;
            self.take_in(&counted, any_encoder)
        })
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Self::of(work::run(py, false, |_| Profiles::load(&path))?))
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        Ok(Self::of(work::run(py, true, |_| Profiles::from_bytes(bytes))?))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let inner = self.profiles();
        Ok(PyBytes::new(py, &work::run(py, true, |_| inner.to_bytes())?))
    }

    fn save(&self, py: Python<'_>, path: PathBuf, overwrite: bool) -> PyResult<()> {
        let inner = self.profiles();
        work::run(py, true, |_| inner.save(&path, overwrite))
    }

    fn merge(&self, py: Python<'_>, other: &Ranking, any_encoder: bool) -> PyResult<()> {
        let other = other.profiles();
        work::run(py, true, |_| self.take_in(&other, any_encoder))
    }

    fn copy(&self) -> Self {
        Self::of(self.profiles())
    }

    fn equals(&self, other: &Ranking) -> bool {
        let other = other.profiles();
        *self.held() == other
    }

    fn width(&self) -> usize {
        self.held().width()
    }

    /// Rows of samples, seed, and whether there is no row yet.
    fn sampling(&self) -> (usize, u64, bool) {
        let inner = self.held();
        let (sample, seed) = inner.sampling();
        (sample, seed, inner.is_empty())
    }

    /// Names and numbers of rows: of collections, of kinds of queries.
    #[allow(clippy::type_complexity, reason = "a tuple for Python")]
    fn names(&self) -> (Vec<(String, u64)>, Vec<(String, u64)>) {
        let inner = self.held();
        let collections = inner.collections().map(|(name, profile)| (name.to_owned(), profile.rows())).collect();
        (collections, inner.queries().map(|(name, profile)| (name.to_owned(), profile.rows())).collect())
    }

    /// Scores on the common scale of one query's products in a collection.
    fn scores<'py>(
        &self,
        py: Python<'py>,
        query: &Bound<'py, PyAny>,
        collection: &str,
        raw: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let reading = Reading::default();
        let (query, raw) = (Rows::of(query, "query", &reading)?, Rows::of(raw, "raw", &reading)?);
        let (Rows::Array(query), Rows::Array(raw)) = (&query, &raw) else {
            return Err(input("query, raw: give arrays"));
        };
        let found = work::run(py, true, |_| {
            let (query, raw) = (query.to_f32()?, raw.to_f32()?);
            self.held().scores(&query, collection, &raw)
        })?;
        Filled::of(py, &[found.len()], &found)
    }

    /// The best items of all collections for each query.
    fn search<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        collections: Sets<'py>,
        args: SearchArgs,
        reading: Reading,
        device_name: &str,
    ) -> PyResult<Hits<'py>> {
        let inner = self.profiles();
        let queries = Rows::of(queries, "queries", &reading)?;
        check_width(&queries, "queries", (inner.width(), "the ranking"))?;
        inner.check_query_encoders(args.kind.as_deref(), &queries.encoders(), args.any_encoder).map_err(raised)?;
        let sets = open(&collections, &reading)?;
        for (name, rows) in &sets {
            inner.check_collection_encoders(name, &rows.encoders(), args.any_encoder).map_err(raised)?;
        }
        let score: Score = parsed("score", &args.score)?;
        let default = NnnOptions::default();
        let nnn = default
            .alpha(args.nnn_alpha.unwrap_or(default.alpha))
            .neighbours(args.nnn_neighbours.unwrap_or(default.neighbours));
        if score != Score::Nnn && (args.nnn_alpha.is_some() || args.nnn_neighbours.is_some()) {
            return Err(input(format!("nnn_alpha, nnn_neighbours: {score} has none; leave them out")));
        }
        let options = SearchOptions::default()
            .score(score)
            .kind(args.kind.as_deref())
            .top(args.top)
            .pass(args.share)
            .nnn(nnn)
            .stream(reading.stream()?);
        let (nonfinite, device) = (reading.nonfinite().unwrap_or(NonFinite::Error), device(py, device_name)?);
        let hits = work::run(py, false, |stop| {
            let asked = read_queries(&mut queries.source(stop)?, nonfinite)?;
            let mut items = sources(&sets, stop)?;
            search(&device, &inner, &asked, &mut named(&sets, &mut items), &options)
        })?;
        let numbers = |of: fn(&realign::rank::Hit) -> u64| hits.iter().map(of).collect::<Vec<_>>();
        let floats = |of: fn(&realign::rank::Hit) -> f64| {
            Filled::of(py, &[hits.len()], &hits.iter().map(of).collect::<Vec<_>>())
        };
        Ok((
            numbers(|hit| hit.query as u64),
            numbers(|hit| hit.rank as u64),
            numbers(|hit| hit.collection as u64),
            numbers(|hit| hit.row),
            floats(|hit| hit.raw)?,
            floats(|hit| hit.score)?,
        ))
    }
}
