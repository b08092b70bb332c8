//! Which encoder made rows, as files of rows and statistics remember it.

use std::collections::BTreeMap;

use crate::error::{Problem, Remedy};
use crate::{Error, Result};

/// The encoder that made rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderId {
    /// What it is called: the name of its folder.
    pub name: String,
    /// What tells it from others: a hash of its folder's files, in hexadecimal digits.
    pub hash: String,
}

/// The note that holds the name, and the one that holds the hash.
const NAME: &str = "encoder";
const HASH: &str = "encoder_hash";
/// The hash of none: rows of several encoders were counted together.
const SEVERAL: &str = "several";

impl EncoderId {
    /// From a file's notes, each found by its name, `prefix` before it; `None` where they say nothing.
    pub(crate) fn of_notes<'a>(prefix: &str, note: impl Fn(&str) -> Option<&'a str>) -> Option<EncoderId> {
        let of = |name: &str| note(&format!("{prefix}{name}")).filter(|text| !text.is_empty()).map(str::to_owned);
        let hash = of(HASH)?;
        Some(EncoderId { name: of(NAME).unwrap_or_else(|| hash.clone()), hash })
    }

    /// The notes that say it, with `prefix` before their names.
    pub(crate) fn notes(&self, prefix: &str) -> BTreeMap<String, String> {
        [(NAME, &self.name), (HASH, &self.hash)].map(|(name, text)| (format!("{prefix}{name}"), text.clone())).into()
    }

    /// Whether a note of this name would say it.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "parquet's files hold notes in two places"))]
    pub(crate) fn is_note(name: &str) -> bool {
        [NAME, HASH].contains(&name)
    }

    /// Notes of a file whose rows are of an encoder, or of one that is not known, in place of what they say of it.
    pub(crate) fn renoted(
        encoder: Option<&EncoderId>,
        notes: impl IntoIterator<Item = (String, String)>,
    ) -> BTreeMap<String, String> {
        let mut notes: BTreeMap<String, String> = notes.into_iter().collect();
        // Another program's note of that name is its own.
        if notes.remove(HASH).is_some() {
            notes.remove(NAME);
        }
        notes.extend(encoder.map(|encoder| encoder.notes("")).unwrap_or_default());
        notes
    }

    /// Of rows of both: the one that is known, or both where they are one. Where they differ the rows are of several, which no other rows change,
    /// so that neither order nor partition matters.
    pub(crate) fn of_both(a: Option<EncoderId>, b: Option<EncoderId>) -> Option<EncoderId> {
        match (a, b) {
            (Some(a), Some(b)) if a.hash != b.hash => {
                Some(EncoderId { name: SEVERAL.to_owned(), hash: SEVERAL.to_owned() })
            }
            (Some(a), Some(b)) => Some(EncoderId { name: a.name.min(b.name), hash: a.hash }),
            (a, b) => a.or(b),
        }
    }

    /// Refuses rows of another encoder than what was fitted to; what says nothing is taken. With `any` all are, with a warning. `what` was fitted.
    pub(crate) fn check(what: &str, fitted: Option<&EncoderId>, rows: &[EncoderId], any: bool) -> Result<()> {
        let Some(fitted) = fitted else { return Ok(()) };
        let Some(other) = rows.iter().find(|encoder| encoder.hash != fitted.hash) else { return Ok(()) };
        let problem = format!("they are of the encoder {other}, but the {what} is of {fitted}");
        if any {
            log::warn!("embeddings: {problem}");
            return Ok(());
        }
        Err(Error::argument("embeddings", Problem::new(problem).remedy(Remedy::AllowEncoder)))
    }

    /// Whether the rows are of several encoders.
    pub(crate) fn is_several(&self) -> bool {
        self.hash == SEVERAL
    }
}

impl std::fmt::Display for EncoderId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Eight digits tell encoders apart that people hold side by side.
        write!(f, "{} ({})", self.name, self.hash.get(..8).unwrap_or(&self.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_another_encoder_are_replaced() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let old = of(&[("encoder", "clip"), ("encoder_hash", "00"), ("licence", "free")]);
        let new = EncoderId { name: "siglip".to_owned(), hash: "ff".to_owned() };
        assert_eq!(EncoderId::renoted(None, old.clone()), of(&[("licence", "free")]));
        let want = of(&[("encoder", "siglip"), ("encoder_hash", "ff"), ("licence", "free")]);
        assert_eq!(EncoderId::renoted(Some(&new), old), want);
        let foreign = of(&[("encoder", "x264")]);
        assert_eq!(EncoderId::renoted(None, foreign.clone()), foreign);
    }

    #[test]
    fn notes_say_what_they_were_told() {
        let id = EncoderId { name: "clip".to_owned(), hash: "0123456789".to_owned() };
        let notes = id.notes("source_");
        let find = |name: &str| notes.get(name).map(String::as_str);
        assert_eq!(EncoderId::of_notes("source_", find), Some(id.clone()));
        assert_eq!(EncoderId::of_notes("target_", find), None);
        assert_eq!(id.to_string(), "clip (01234567)");
        let other = EncoderId { name: "b".to_owned(), hash: "ff".to_owned() };
        let renamed = EncoderId { name: "a".to_owned(), ..id.clone() };
        let both = |a: &EncoderId, b: &EncoderId| EncoderId::of_both(Some(a.clone()), Some(b.clone()));
        assert_eq!((both(&id, &renamed), both(&renamed, &id)), (Some(renamed.clone()), Some(renamed.clone())));
        assert_eq!(EncoderId::of_both(None, Some(id.clone())), Some(id.clone()));
        let several = both(&id, &other).unwrap();
        assert!(several.is_several() && both(&several, &id) == Some(several.clone()) && !id.is_several());
        assert_eq!(EncoderId::of_notes("", |name| (name == HASH).then_some("ab")).map(|id| id.name), Some("ab".into()));
    }
}
