//! What a folder of one's own pictures holds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use crate::experiment::folder::{CAPTIONS, captions};
use crate::io::{Records, fingerprint};
use crate::{Error, Result};

/// The conversations' file in the folder.
const QUESTIONS: &str = "questions.jsonl";

/// Pictures with their captions, and conversations about them where there are such.
#[derive(Clone, Debug)]
pub struct Collection {
    folder: PathBuf,
    names: Vec<String>,
    captions: Vec<Vec<String>>,
    conversations: Vec<Vec<Value>>,
}

impl Collection {
    /// Reads `captions.jsonl` of a folder, records `{image, text}`, and `questions.jsonl`, records `{id, image, conversations}`, where it is
    /// there. A picture may have several of both. Pictures are not decoded yet.
    ///
    /// # Errors
    /// No captions; a record without its fields (with its line); a picture that is missing; a conversation about a picture that has no
    /// caption.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CAPTIONS);
        let (names, captions) = captions(&path)?;
        for name in &names {
            if name.contains(['\n', '\r']) {
                return Err(Error::format(&path, format!("the name {name:?} has a line break; rename the picture")));
            }
            if !folder.join(name).is_file() {
                let problem = format!("names the picture {name:?}, which is not in {}", folder.display());
                return Err(Error::format(&path, format!("{problem}; put it there, or remove its captions")));
            }
        }
        let mut collection =
            Collection { folder: folder.to_path_buf(), conversations: vec![Vec::new(); names.len()], names, captions };
        let questions = folder.join(QUESTIONS);
        if questions.exists() {
            collection.read_conversations(&questions)?;
        }
        Ok(collection)
    }

    fn read_conversations(&mut self, path: &Path) -> Result<()> {
        let places: HashMap<&str, usize> = self.names.iter().enumerate().map(|(i, name)| (&name[..], i)).collect();
        let mut records = Records::open(path)?;
        while let Some(record) = records.next() {
            let record = record?;
            let Some(name) = record.object.get("image").and_then(Value::as_str) else {
                return Err(records.error(&record, "field \"image\" is missing or no text"));
            };
            if record.object.get("conversations").is_none_or(|turns| turns.as_array().is_none_or(Vec::is_empty)) {
                return Err(records.error(&record, "field \"conversations\" is missing or no list of turns"));
            }
            let Some(place) = places.get(name) else {
                let problem = format!("is about the picture {name:?}, which {CAPTIONS} has no caption of");
                return Err(records.error(&record, problem));
            };
            self.conversations[*place].push(Value::Object(record.object));
        }
        match self.conversations.iter().all(Vec::is_empty) {
            true => Err(Error::format(path, "holds no record; give one conversation per line, or remove the file")),
            false => Ok(()),
        }
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none: never, for then it was not opened.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The pictures' names, in the order of their first captions.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The folder of all.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of a picture; the folder itself beyond the last.
    pub fn path(&self, picture: usize) -> PathBuf {
        self.folder.join(self.names.get(picture).map_or("", String::as_str))
    }

    /// A picture's captions; none beyond the last.
    pub fn captions(&self, picture: usize) -> &[String] {
        self.captions.get(picture).map_or(&[], Vec::as_slice)
    }

    /// All captions, picture by picture.
    pub fn all_captions(&self) -> Vec<String> {
        self.captions.concat()
    }

    /// The numbers of a picture's captions among all.
    pub(super) fn caption_numbers(&self) -> Vec<std::ops::Range<usize>> {
        let mut next = 0;
        let of = |captions: &Vec<String>| {
            next += captions.len();
            next - captions.len()..next
        };
        self.captions.iter().map(of).collect()
    }

    /// The conversations about a picture.
    pub fn conversations(&self, picture: usize) -> &[Value] {
        self.conversations.get(picture).map_or(&[], Vec::as_slice)
    }

    /// Whether there are conversations.
    pub fn asks(&self) -> bool {
        self.conversations.iter().any(|list| !list.is_empty())
    }

    /// What the folder held, in few numbers: so that a study does not go on with another.
    pub(super) fn fingerprint(&self) -> Result<Value> {
        let sums = |name: &str| {
            let path = self.folder.join(name);
            let of = || fingerprint::of_file(name, &path, true).map(|f| f.sums());
            path.exists().then(of).transpose()
        };
        let mut all = crc32fast::Hasher::new();
        for picture in 0..self.len() {
            let path = self.path(picture);
            let known = std::fs::metadata(&path).map_err(Error::io("open", &path))?;
            let changed = known.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            all.update(&known.len().to_le_bytes());
            all.update(&changed.unwrap_or_default().as_nanos().to_le_bytes());
        }
        let text = |sums: Option<(u64, u32)>| sums.map(|(bytes, crc)| format!("{bytes} {crc:08x}"));
        Ok(json!({
            "captions": text(sums(CAPTIONS)?), "questions": text(sums(QUESTIONS)?),
            "pictures": format!("{} {:08x}", self.len(), all.finalize()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(captions: &str, questions: Option<&str>) -> Result<Collection> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        std::fs::write(folder.path().join(CAPTIONS), captions).unwrap();
        if let Some(questions) = questions {
            std::fs::write(folder.path().join(QUESTIONS), questions).unwrap();
        }
        Collection::open(folder.path())
    }

    const CAPTION: &str = "{\"image\": \"b.png\", \"text\": \"one\"}\n{\"image\": \"a.png\", \"text\": \"two\"}\n{\"image\": \"b.png\", \"text\": \"three\"}\n";

    #[test]
    fn captions_go_by_their_pictures() {
        let asked = "{\"id\": 1, \"image\": \"a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"?\"}]}\n";
        let collection = opened(CAPTION, Some(asked)).unwrap();
        assert_eq!((collection.names(), collection.len()), (&["b.png".to_owned(), "a.png".to_owned()][..], 2));
        assert_eq!(collection.all_captions(), ["one", "three", "two"]);
        assert_eq!(collection.caption_numbers(), [0..2, 2..3]);
        assert_eq!((collection.captions(1), collection.captions(5).len()), (&["two".to_owned()][..], 0));
        assert_eq!((collection.conversations(0).len(), collection.conversations(1).len()), (0, 1));
        assert!(collection.asks() && !opened(CAPTION, None).unwrap().asks());
        assert!(collection.path(1).ends_with("a.png"));
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_named() {
        let said = |captions: &str, questions: Option<&str>| opened(captions, questions).unwrap_err().to_string();
        assert!(said("{\"image\": \"c.png\", \"text\": \"x\"}\n", None).contains("names the picture \"c.png\""));
        for (record, words) in [
            ("", "holds no record"),
            ("{\"id\": 1}\n", "\"image\" is missing"),
            ("{\"image\": \"a.png\"}\n", "\"conversations\" is missing"),
            ("{\"image\": \"a.png\", \"conversations\": []}\n", "\"conversations\" is missing"),
            ("{\"image\": \"z.png\", \"conversations\": [1]}\n", "no caption of"),
        ] {
            let said = said(CAPTION, Some(record));
            assert!(said.contains(words) && said.contains(QUESTIONS), "{said}");
        }
    }
}
