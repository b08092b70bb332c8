//! What the records of a data file would be embedded by: the pictures that they name, or their own texts.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::images::Image;
use super::samples::Join;
use super::{captions, questions, turns};
use crate::io::records::short;
use crate::io::{Ids, Records, TextList};
use crate::{Error, Result};

/// How many names are listed.
const LISTED: usize = 10;

/// The pictures that a file's records name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedPictures {
    /// Names of files under the folder that was asked, each once, in the order in which records name them.
    pub names: Ids,
    /// Records whose picture is not there.
    pub missing: u64,
    /// The first of these pictures' names.
    pub first_missing: Vec<String>,
}

impl NamedPictures {
    /// Reads what the records of a file (`.jsonl`, or `.json` with one array) name: captions, conversations or questions. A record's picture is the
    /// first of its names (as `join` has them: its id, its image) that is a file under `root`. Records that are bad are passed over, for those
    /// who read them for their texts say so; records of text alone name nothing. `extent` says how far the file is read.
    ///
    /// # Errors
    /// A file that cannot be read, or is broken as a whole.
    pub fn read(data: &Path, root: &Path, join: Join, extent: Extent) -> Result<NamedPictures> {
        NamedPictures::read_beyond(data, root, join, extent, &HashSet::new())
    }

    /// As [`NamedPictures::read`], knowing that these pictures are broken: their records do not count for the extent, so that the file is read further
    /// for others. They are among the names all the same.
    ///
    /// # Errors
    /// As there.
    pub fn read_beyond(
        data: &Path,
        root: &Path,
        join: Join,
        extent: Extent,
        broken: &HashSet<String>,
    ) -> Result<NamedPictures> {
        let (mut found, mut seen) = (NamedPictures::default(), HashMap::new());
        let mut records = Records::open(data)?;
        let (mut good, most) = (0, extent.most());
        while let Some(record) = if good < most { records.next_record()? } else { None } {
            let Some(names) = record.ok().and_then(|record| extent.names(&record.object, join)) else { continue };
            good += usize::from(names.is_empty());
            let there = |name: &String| {
                seen.entry(name.clone()).or_insert_with(|| (!name.is_empty() && root.join(name).is_file(), false)).0
            };
            let Some(last) = names.last().cloned() else { continue };
            match names.into_iter().find(there) {
                Some(name) => {
                    good += usize::from(!broken.contains(&name));
                    let taken = seen.get_mut(&name).map(|(_, taken)| std::mem::replace(taken, true));
                    if taken == Some(false) {
                        found.names.push(&name);
                    }
                }
                None => {
                    found.missing += 1;
                    if found.first_missing.len() < LISTED && !found.first_missing.contains(&last) {
                        found.first_missing.push(last);
                    }
                }
            }
        }
        Ok(found)
    }
}

/// How far a file is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// To its end.
    #[default]
    All,
    /// Up to so many records that are questions which can be asked, as [`Questions::read`](super::Questions::read) finds them.
    Questions(usize),
    /// Up to so many captions, as [`Questions::captions`](super::Questions::captions) finds them.
    Captions(usize),
}

impl Extent {
    fn most(self) -> usize {
        match self {
            Extent::All => usize::MAX,
            Extent::Questions(most) | Extent::Captions(most) => most,
        }
    }

    /// What may name a record's picture; nothing of text alone, `None` of a bad record.
    fn names(self, object: &Map<String, Value>, join: Join) -> Option<Vec<String>> {
        match self {
            Extent::Questions(_) => questions::parse(object, join).ok().map(|(names, ..)| names),
            Extent::Captions(_) => captions::parse(object, join).ok().map(|(names, _)| names),
            Extent::All if turns::is_conversation(object) => {
                turns::parse(object, join).ok().map(|conversation| conversation.names)
            }
            Extent::All if object.contains_key("question") => {
                questions::parse(object, join).ok().map(|(names, ..)| names)
            }
            Extent::All if captions::has_caption(object) => captions::names(object, join).ok(),
            Extent::All => Image::of(object).ok()?.names(object, join).ok(),
        }
    }
}

/// The texts of a file's records, by the names that join them to their embeddings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedTexts {
    /// Names, each once.
    pub names: Ids,
    /// As many texts.
    pub texts: Ids,
}

impl NamedTexts {
    /// The texts of lists, without white space around them, as [`NamedTexts::read`] takes them, one list behind the other; those of several lists are called by the list's number and their id.
    ///
    /// # Errors
    /// A record without an id or a text; a file that can no longer be read.
    pub fn of_lists(lists: &[TextList]) -> Result<NamedTexts> {
        let mut found = NamedTexts::default();
        for (number, list) in lists.iter().enumerate() {
            if let Some(bad) = list.bad().first() {
                let count = list.bad().len();
                return Err(Error::format(
                    list.path(),
                    format!("{}; {count} records have no text that can be used", bad.problem),
                ));
            }
            for next in list.texts(0)? {
                let (index, text) = next?;
                match lists.len() {
                    1 => found.names.push(&list.id(index)),
                    _ => found.names.push(&format!("{number}/{}", list.id(index))),
                }
                found.texts.push(text.trim());
            }
        }
        Ok(found)
    }

    /// Reads captions as [`Samples::captions`](super::Samples::captions) does; bad records are passed over, for those who train on them say so.
    ///
    /// # Errors
    /// A file that cannot be read, or is broken as a whole; one name with two texts, which one embedding cannot stand for.
    pub fn read(data: &Path, join: Join) -> Result<NamedTexts> {
        let (mut found, mut seen) = (NamedTexts::default(), HashMap::new());
        let mut records = Records::open(data)?;
        while let Some(record) = records.next_record()? {
            let Ok(record) = record else { continue };
            let Ok((names, text)) = captions::parse(&record.object, join) else { continue };
            let Some(name) = names.into_iter().next() else { continue };
            match seen.get(&name).copied() {
                None => {
                    seen.insert(name.clone(), found.names.len());
                    found.names.push(&name);
                    found.texts.push(&text);
                }
                Some(first) if found.texts.get(first) == text => {}
                Some(first) => {
                    let problem = format!("is called {name:?}, and so is an earlier one with another text");
                    let (now, then) = (short(&Value::from(&text[..])), short(&Value::from(found.texts.get(first))));
                    let remedy = "give each record an id of its own, since each text has an embedding of its own";
                    return Err(records.error(&record, format!("{problem} ({now} and {then}); {remedy}")));
                }
            }
        }
        match found.names.is_empty() {
            false => Ok(found),
            true => Err(Error::format(data, "holds no text that could be embedded")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn all(ids: &Ids) -> Vec<&str> {
        (0..ids.len()).map(|i| ids.get(i)).collect()
    }

    #[test]
    fn records_of_all_forms_name_their_pictures() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "deep/b.jpg", "7", "c.png"] {
            file(folder.path(), name, "");
        }
        let talk = r#""conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "x"}]"#;
        let lines = [
            format!(r#"{{"id": "1", "image": "a.png", {talk}}}"#),
            format!(r#"{{"id": "2", "image": "deep/b.jpg", {talk}}}"#),
            format!(r#"{{"id": "3", "image": "a.png", {talk}}}"#),
            r#"{"id": "4", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "x"}]}"#
                .to_owned(),
            "nonsense".to_owned(),
            r#"{"id": 7, "text": "a caption that is called as its picture"}"#.to_owned(),
            r#"{"id": "5", "image": "none.png", "question": "What?", "answer": "x"}"#.to_owned(),
            r#"{"id": "6", "image": "c.png", "question": "What?", "answer": "x"}"#.to_owned(),
        ];
        let data = file(folder.path(), "data.jsonl", &lines.join("\n"));
        let found = NamedPictures::read(&data, folder.path(), Join::Auto, Extent::All).unwrap();
        assert_eq!(all(&found.names), ["a.png", "deep/b.jpg", "7", "c.png"]);
        assert_eq!((found.missing, &found.first_missing[..]), (1, &["none.png".to_owned()][..]));
        let by_id = NamedPictures::read(&data, folder.path(), Join::Id, Extent::All).unwrap();
        assert_eq!((all(&by_id.names), by_id.missing), (vec!["7"], 5));
        // The caption is no question, and the record without a picture counts, but for itself.
        for (most, names, missing) in [(1, 1, 0), (2, 2, 0), (4, 2, 0), (5, 3, 1), (9, 3, 1)] {
            let first = NamedPictures::read(&data, folder.path(), Join::Auto, Extent::Questions(most)).unwrap();
            assert_eq!((first.names.len(), first.missing), (names, missing), "{most}");
        }
        // Of two records of a broken picture neither counts.
        let broken = HashSet::from(["a.png".to_owned()]);
        let beyond = |most| {
            let extent = Extent::Questions(most);
            let found = NamedPictures::read_beyond(&data, folder.path(), Join::Auto, extent, &broken).unwrap();
            (found.names.len(), found.missing)
        };
        assert_eq!([1, 2, 3].map(beyond), [(2, 0), (2, 0), (3, 1)]);
        let captions = NamedPictures::read(&data, folder.path(), Join::Auto, Extent::Captions(9)).unwrap();
        assert_eq!(captions.names.get(captions.names.len() - 1), "7");
    }

    #[test]
    fn a_name_has_one_text() {
        let folder = tempfile::tempdir().unwrap();
        let lines = r#"{"id": 1, "text": " one "}
            {"id": 2, "image": "two.png", "caption": "two"}
            {"id": 1, "text": "one"}
            {"id": 3, "text": ""}
            {"image": "four.png", "text": "four"}"#;
        let data = file(folder.path(), "data.jsonl", lines);
        let found = NamedTexts::read(&data, Join::Auto).unwrap();
        assert_eq!((all(&found.names), all(&found.texts)), (vec!["1", "2", "four.png"], vec!["one", "two", "four"]));
        let by_image = NamedTexts::read(&data, Join::Image).unwrap();
        assert_eq!(all(&by_image.names), ["two.png", "four.png"]);
        let twice = file(folder.path(), "twice.jsonl", "{\"id\": 1, \"text\": \"a\"}\n{\"id\": 1, \"text\": \"b\"}\n");
        let problem = NamedTexts::read(&twice, Join::Auto).unwrap_err().to_string();
        assert!(
            ["line 2", "\"1\"", "\"a\"", "\"b\"", "id of its own"].iter().all(|w| problem.contains(w)),
            "{problem}"
        );
        // Both ways give an encoder the same texts.
        let lines = r#"{"id": 1, "text": " one "}"#.to_owned() + "\n" + r#"{"id": 2, "text": "two\n"}"#;
        let list = TextList::open(&file(folder.path(), "list.jsonl", &lines)).unwrap();
        assert_eq!(all(&NamedTexts::of_lists(&[list]).unwrap().texts), ["one", "two"]);
        let none = file(folder.path(), "none.jsonl", "{\"id\": 1}\n");
        assert!(NamedTexts::read(&none, Join::Auto).unwrap_err().to_string().contains("no text"));
    }
}
