//! Graded answers: what items are worth to queries.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::io::{IdIndex, Records};
use crate::{Error, Result};

/// The grades of queries' items; what is not graded is worth nothing.
#[derive(Clone, Debug, Default)]
pub struct Relevance {
    grades: Vec<HashMap<(usize, u64), f64>>,
}

impl Relevance {
    /// Of so many queries, nothing graded yet.
    pub fn new(queries: usize) -> Self {
        Relevance { grades: vec![HashMap::new(); queries] }
    }

    /// Queries.
    pub fn queries(&self) -> usize {
        self.grades.len()
    }

    /// Grades an item: a row of a collection, given by its index among those that are searched.
    ///
    /// # Errors
    /// No such query; a grade that is negative or not finite; an item that is graded already.
    pub fn add(&mut self, query: usize, (collection, row): (usize, u64), grade: f64) -> Result<()> {
        if !(grade.is_finite() && grade >= 0.0) {
            return Err(Error::argument("grade", format!("{grade}; give a number from 0")));
        }
        let count = self.grades.len();
        let Some(grades) = self.grades.get_mut(query) else {
            return Err(Error::shape("relevance", "query", format!("below {count}"), query));
        };
        match grades.insert((collection, row), grade) {
            None => Ok(()),
            Some(_) => Err(Error::argument("grade", format!("row {row} of collection {collection} has one already"))),
        }
    }

    /// Reads records `{"query": id, "collection": name, "item": id, "grade": n}`, one a line. `collections` are those that are searched, in
    /// order, with their items' ids.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed, or has no grade above 0; a name or an id that is unknown; a grade that is none; an item graded twice. The message
    /// has the line.
    pub fn read(path: &Path, queries: &IdIndex, collections: &[(&str, &IdIndex)]) -> Result<Self> {
        let mut relevance = Relevance::new(queries.ids().len());
        let places: BTreeMap<&str, usize> = collections.iter().enumerate().map(|(i, (name, _))| (*name, i)).collect();
        let mut records = Records::open(path)?;
        while let Some(record) = records.next() {
            let record = record?;
            let found = (|| -> Result<(), String> {
                let field = |name: &str| crate::io::record_id(&record.object, name);
                let (query, name, item) = (field("query")?, field("collection")?, field("item")?);
                let query = queries.row(&query).ok_or_else(|| format!("there is no query {query:?}"))?;
                let at = *places.get(&name[..]).ok_or_else(|| {
                    let known: Vec<&str> = places.keys().copied().collect();
                    format!("there is no collection {name:?} among {}", known.join(", "))
                })?;
                let row = collections.get(at).and_then(|(_, ids)| ids.row(&item));
                let row = row.ok_or_else(|| format!("the collection {name:?} has no item {item:?}"))?;
                let grade = record.object.get("grade").and_then(serde_json::Value::as_f64);
                let grade = grade.ok_or_else(|| "field \"grade\" is no number".to_owned())?;
                relevance.add(query as usize, (at, u64::from(row)), grade).map_err(|e| e.to_string())
            })();
            found.map_err(|problem| records.error(&record, problem))?;
        }
        if !relevance.grades.iter().flat_map(HashMap::values).any(|grade| *grade > 0.0) {
            let problem = "no item has a grade above 0, so that nothing is an answer; grade the answers";
            return Err(Error::format(path, problem));
        }
        Ok(relevance)
    }

    /// What an item is worth to a query.
    pub fn grade(&self, query: usize, item: (usize, u64)) -> f64 {
        self.grades.get(query).and_then(|grades| grades.get(&item)).copied().unwrap_or(0.0)
    }

    /// The grades above 0 of a query's items, best first.
    pub(super) fn ideal(&self, query: usize) -> Vec<f64> {
        let grades = self.grades.get(query).into_iter().flat_map(HashMap::values);
        let mut grades: Vec<f64> = grades.copied().filter(|grade| *grade > 0.0).collect();
        grades.sort_by(|a, b| b.total_cmp(a));
        grades
    }
}
