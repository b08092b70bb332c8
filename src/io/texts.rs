//! Lists of texts with ids: records of JSON, or a text a line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::source::SourceBytes;
use super::{Ids, Records, plain, records};
use crate::{Error, Result};

/// A line longer than this is no text that anyone wrote.
const MAX_LINE: u64 = 64 << 20;

/// A file of texts, checked as a whole and read again as it is used: memory holds the ids alone.
#[derive(Clone, Debug)]
pub struct TextList {
    path: PathBuf,
    count: usize,
    /// Of records; lines are called by their numbers.
    ids: Option<Ids>,
    bad: Vec<BadText>,
}

/// A record without a text that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadText {
    /// Its number in the file, from 0.
    pub index: usize,
    /// Where it is and what is wrong.
    pub problem: String,
}

impl TextList {
    /// Opens a file. Of `.jsonl` and `.json` each record's `text` (a text) counts, with its `id` (a text or an integer); of `.txt` each line, an empty
    /// one too, with its number from 0 as id. A byte order mark is no part of a text, nor is a line's end (LF or CRLF); behind the last line's
    /// end there is no further line. The file is read once, so that bad records are known: [`TextList::bad`].
    ///
    /// # Errors
    /// A file that cannot be read, has another ending, is in another encoding than UTF-8, or is broken as a whole; two records with one id, both
    /// named; no text at all.
    pub fn open(path: &Path) -> Result<TextList> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        let list = match ending.as_str() {
            "jsonl" | "json" => TextList::of_records(path)?,
            "txt" => TextList::of_lines(path)?,
            _ => {
                let problem = "is no file of texts by its ending; give .jsonl or .json (records {\"id\", \"text\"}) or .txt (a text a line)";
                return Err(Error::format(path, problem));
            }
        };
        match list.count {
            0 => Err(Error::format(path, "holds no text")),
            _ => Ok(list),
        }
    }

    fn of_records(path: &Path) -> Result<TextList> {
        let (mut ids, mut bad, mut count) = (Ids::default(), Vec::new(), 0);
        let mut records = Records::open(path)?;
        while let Some(next) = records.next_record()? {
            let index = count;
            count += 1;
            let found = match next {
                Err(broken) => Err(format!("{}: {}", broken.place, broken.problem)),
                Ok(record) => match (id_of(&record.object), records::text(&record.object, "text")) {
                    (Ok(id), Ok(_)) => Ok(id),
                    (Err(problem), _) | (_, Err(problem)) => Err(records.place_of(&record) + ": " + &problem),
                },
            };
            match found {
                Ok(id) => ids.push(&id),
                Err(problem) => {
                    // A place for the list's order; nobody asks for it.
                    ids.push("");
                    bad.push(BadText { index, problem });
                }
            }
        }
        refuse_duplicates(path, &ids)?;
        Ok(TextList { path: path.to_path_buf(), count, ids: Some(ids), bad })
    }

    fn of_lines(path: &Path) -> Result<TextList> {
        let mut lines = Lines::open(path)?;
        let mut count = 0;
        while lines.next_line()?.is_some() {
            count += 1;
        }
        Ok(TextList { path: path.to_path_buf(), count, ids: None, bad: Vec::new() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many texts there are, bad records among them.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The id of the text at `index`; empty beyond the end and of bad records.
    pub fn id(&self, index: usize) -> Cow<'_, str> {
        match &self.ids {
            Some(ids) => Cow::Borrowed(ids.get(index)),
            None if index < self.count => Cow::Owned(index.to_string()),
            None => Cow::Borrowed(""),
        }
    }

    /// Records without a text or an id, in order.
    pub fn bad(&self) -> &[BadText] {
        &self.bad
    }

    /// Reads the texts from that at `first` on, in order; bad records give none.
    ///
    /// # Errors
    /// A file that can no longer be opened.
    pub fn texts(&self, first: usize) -> Result<Texts> {
        let source = match &self.ids {
            Some(_) => Source::Records(Box::new(Records::open(&self.path)?)),
            None => Source::Lines(Lines::open(&self.path)?),
        };
        Ok(Texts { source, next: 0, first, bad: self.bad.iter().map(|bad| bad.index).collect() })
    }
}

/// The id of a record; it stands on a line of a list.
fn id_of(object: &serde_json::Map<String, serde_json::Value>) -> Result<String, String> {
    let id = records::id(object, "id")?;
    match id.is_empty() || id.contains(['\n', '\r']) {
        true => Err(format!("its id {id:?} is empty or has a line break")),
        false => Ok(id),
    }
}

fn refuse_duplicates(path: &Path, ids: &Ids) -> Result<()> {
    let mut seen = HashMap::with_capacity(ids.len());
    for index in 0..ids.len() {
        let id = ids.get(index);
        if !id.is_empty()
            && let Some(first) = seen.insert(id, index)
        {
            let problem = format!("records {first} and {index} (from 0) both have the id {id:?}; ids must be unique");
            return Err(Error::format(path, problem));
        }
    }
    Ok(())
}

/// The texts of a list in order, each with its place.
#[derive(Debug)]
pub struct Texts {
    source: Source,
    next: usize,
    first: usize,
    /// Places of bad records, in order.
    bad: Vec<usize>,
}

#[derive(Debug)]
enum Source {
    Records(Box<Records>),
    Lines(Lines),
}

impl Texts {
    /// The next text, or nothing at the end.
    fn read(&mut self) -> Result<Option<(usize, String)>> {
        loop {
            let index = self.next;
            let text = match &mut self.source {
                Source::Lines(lines) => lines.next_line()?.map(Ok),
                Source::Records(records) => records.next_record()?.map(|record| {
                    let record = record.map_err(|bad| bad.problem)?;
                    records::text(&record.object, "text").map(str::to_owned)
                }),
            };
            self.next += 1;
            match text {
                None => return Ok(None),
                Some(_) if index < self.first || self.bad.binary_search(&index).is_ok() => {}
                Some(Ok(text)) => return Ok(Some((index, text))),
                Some(Err(problem)) => {
                    let path = if let Source::Records(records) = &self.source { records.path() } else { Path::new("") };
                    return Err(Error::format(path, format!("changed while in use: record {index}: {problem}")));
                }
            }
        }
    }
}

impl Iterator for Texts {
    type Item = Result<(usize, String)>;

    fn next(&mut self) -> Option<Result<(usize, String)>> {
        self.read().transpose()
    }
}

/// Lines without their ends.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    input: BufReader<SourceBytes>,
    /// Lines read.
    read: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Lines> {
        let file = SourceBytes::open(path, "name a file of texts")?;
        let mut input = BufReader::with_capacity(1 << 18, file);
        let start = input.fill_buf().map_err(Error::io("read", path))?;
        plain::check_encoding(&start[..start.len().min(plain::START)], path)?;
        if start.starts_with(plain::MARK) {
            input.consume(plain::MARK.len());
        }
        Ok(Lines { path: path.to_path_buf(), input, read: 0 })
    }

    fn next_line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        let mut limited = Read::take(&mut self.input, MAX_LINE + 1);
        limited.read_until(b'\n', &mut line).map_err(Error::io("read", &self.path))?;
        if line.is_empty() {
            return Ok(None);
        }
        let failed = |problem: String| Error::format(&self.path, format!("line {} {problem}", self.read + 1));
        if line.len() as u64 > MAX_LINE {
            return Err(failed(format!("is longer than {MAX_LINE} bytes; one text a line is needed")));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        let text = String::from_utf8(line).map_err(|e| {
            let byte = e.as_bytes().get(e.utf8_error().valid_up_to()).copied().unwrap_or(0);
            failed(format!("is not UTF-8: it has the byte {byte:#04x}; save the file as UTF-8"))
        })?;
        self.read += 1;
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn all(name: &str, bytes: &[u8], first: usize) -> Vec<(String, String)> {
        let (_folder, path) = file(name, bytes);
        let list = TextList::open(&path).unwrap();
        let texts = list.texts(first).unwrap().map(Result::unwrap);
        texts.map(|(index, text)| (list.id(index).into_owned(), text)).collect()
    }

    fn said(name: &str, bytes: &[u8]) -> String {
        let (_folder, path) = file(name, bytes);
        TextList::open(&path).unwrap_err().to_string()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn every_line_is_a_text() {
        let want = pairs(&[("0", "a dog"), ("1", ""), ("2", " é "), ("3", "")]);
        assert_eq!(all("a.txt", "a dog\n\n é \n\n".as_bytes(), 0), want);
        assert_eq!(all("a.TXT", "\u{feff}a dog\r\n\r\n é \r\n\r\n".as_bytes(), 0), want);
        assert_eq!(all("a.txt", b"x\ry\nlast", 0), pairs(&[("0", "x\ry"), ("1", "last")]));
        assert_eq!(all("a.txt", "a\u{2028}b\u{c}c\n".as_bytes(), 0), pairs(&[("0", "a\u{2028}b\u{c}c")]));
        assert_eq!(all("a.txt", b"a\nb\nc\n", 2), pairs(&[("2", "c")]));
        assert_eq!(all("a.txt", b"\n", 0), pairs(&[("0", "")]));
    }

    #[test]
    fn records_have_ids() {
        let want = pairs(&[("x", "one"), ("7", ""), ("z", "three")]);
        let lines = b"\xef\xbb\xbf{\"id\": \"x\", \"text\": \"one\"}\r\n\n{\"id\": 7, \"text\": \"\"}\n{\"text\": \"three\", \"id\": \"z\", \"more\": 1}";
        assert_eq!(all("a.jsonl", lines, 0), want);
        assert_eq!(
            all("a.json", br#"[{"id": "x", "text": "one"}, {"id": 7, "text": ""}, {"id": "z", "text": "three"}]"#, 0),
            want
        );
        assert_eq!(all("a.jsonl", lines, 1), want[1..]);
    }

    #[test]
    fn bad_records_are_kept_apart() {
        let lines = b"{\"id\": 1, \"text\": \"a\"}\n{\"id\": 2}\nnonsense\n{\"id\": 4, \"text\": \"d\"}\n{\"text\": \"e\"}\n{\"id\": \"\", \"text\": \"f\"}\n";
        let (_folder, path) = file("a.jsonl", lines);
        let list = TextList::open(&path).unwrap();
        let bad: Vec<(usize, &str)> = list.bad().iter().map(|bad| (bad.index, &bad.problem[..])).collect();
        let words = ["no field \"text\"", "not valid JSON", "no field \"id\"", "is empty"];
        assert_eq!(bad.iter().map(|b| b.0).collect::<Vec<_>>(), [1, 2, 4, 5]);
        bad.iter()
            .zip(words)
            .for_each(|(bad, word)| assert!(bad.1.contains(word) && bad.1.contains("line"), "{bad:?}"));
        assert_eq!(list.texts(0).unwrap().map(|t| t.unwrap().0).collect::<Vec<_>>(), [0, 3]);
        assert_eq!((list.len(), list.is_empty(), list.path()), (6, false, path.as_path()));
    }

    #[test]
    fn what_is_no_file_of_texts_is_named() {
        for (name, bytes, words) in [
            (
                "a.jsonl",
                &b"{\"id\": 5, \"text\": \"a\"}\n{\"id\": \"5\", \"text\": \"b\"}\n"[..],
                "records 0 and 1 (from 0) both have the id \"5\"",
            ),
            ("a.jsonl", b"", "holds no text"),
            ("a.txt", b"", "holds no text"),
            ("a.txt", b"fine\nb\xe9d\n", "line 2 is not UTF-8: it has the byte 0xe9"),
            ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
            ("a.txt", b"\xff\xfea\0", "UTF-16"),
            ("a.csv", b"a,b\n", ".jsonl or .json"),
            ("a.png", b"x", ".txt"),
            ("a.json", b"[{\"id\": 1, \"text\": \"a\"", "truncated"),
        ] {
            let problem = said(name, bytes);
            assert!(problem.contains(words) && problem.contains(name), "{name}: {problem}");
        }
        assert!(TextList::open(Path::new("no/such.txt")).unwrap_err().to_string().contains("no/such.txt"));
    }
}
