//! What a ranking made for single queries, kept for the next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::Scorer;
use crate::Result;

/// A scorer for each collection that was asked for. It follows from what is kept of the collection: clones make their own, and all are equal.
#[derive(Default)]
pub(super) struct Prepared(Mutex<BTreeMap<String, Arc<Scorer>>>);

impl Prepared {
    /// The scorer of a collection, made once.
    pub fn scorer(&self, collection: &str, make: impl FnOnce() -> Result<Scorer>) -> Result<Arc<Scorer>> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scorer) = kept().get(collection) {
            return Ok(scorer.clone());
        }
        // Not under the lock: it takes a while, and whoever comes at the same time makes the same.
        let made = Arc::new(make()?);
        Ok(kept().entry(collection.to_owned()).or_insert(made).clone())
    }
}

impl Clone for Prepared {
    fn clone(&self) -> Self {
        Prepared::default()
    }
}

impl PartialEq for Prepared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Prepared {}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}
