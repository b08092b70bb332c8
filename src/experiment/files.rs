//! The experiment's data as files, in the formats that the training commands read.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::attributes::ATTRIBUTES;
use super::digits::Digits;
use super::random::{Random, Stream};
use super::words::{Length, Question, question};
use crate::io::atomic_folder::FolderWriter;
use crate::io::{write_ids, write_npy};
use crate::{Error, Result};

/// What is written besides the images' own parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// Texts of the unpaired pool.
    pub texts: usize,
    /// Whether captions have filler.
    pub length: Length,
    /// Replace a folder of the same name.
    pub force: bool,
}

impl Default for FileOptions {
    fn default() -> Self {
        FileOptions { texts: 20_000, length: Length::Short, force: false }
    }
}

/// Writes the folder `out`:
///
/// | file | what |
/// | --- | --- |
/// | `pairs.jsonl` | `{id, text}`: the captions of the dual encoder's images |
/// | `texts.jsonl` | `{id, text}`: the unpaired texts, for stage 1 |
/// | `pool.txt` | ids of the images without texts |
/// | `instruction.json` | conversations for stage 2: `{id, image, conversations: [{from, value}]}` |
/// | `test.json` | the same about held-out images |
/// | `test.jsonl` | `{id, text}`: captions of the held-out images, to compare with |
/// | `attributes.jsonl` | `{id, attributes}` of every image: values of digit, strokes, slant, width, height |
/// | `split.json` | ids by part, and the seed |
///
/// Embeddings join by these ids: see [`write_embeddings`].
///
/// # Errors
/// The folder exists and `force` is off; the disk refuses.
pub fn write_digits(out: &Path, digits: &Digits, options: FileOptions) -> Result<PathBuf> {
    let folder = FolderWriter::create(out, options.force)?;
    let split = digits.split();
    let captions = |images: &[usize]| {
        lines(images.iter().map(|&i| json!({"id": Digits::id(i), "text": digits.caption(i, options.length)})))
    };
    folder.write("pairs.jsonl", &captions(&split.pairs))?;
    folder.write("test.jsonl", &captions(&split.test))?;
    let texts = digits.texts(options.texts, options.length);
    folder
        .write("texts.jsonl", &lines(texts.iter().enumerate().map(|(i, t)| json!({"id": text_id(i), "text": t.0}))))?;
    let ids = |images: &[usize]| images.iter().map(|&i| Digits::id(i)).collect::<Vec<_>>();
    folder.write("pool.txt", (ids(&split.pool).join("\n") + "\n").as_bytes())?;
    folder.write("instruction.json", &conversations(digits, &split.instruction))?;
    folder.write("test.json", &conversations(digits, &split.test))?;
    let measured = digits.attributes().iter().enumerate();
    folder.write("attributes.jsonl", &lines(measured.map(|(i, a)| json!({"id": Digits::id(i), "attributes": a}))))?;
    let parts = json!({
        "seed": digits.seed(), "pairs": ids(&split.pairs), "pool": ids(&split.pool),
        "instruction": ids(&split.instruction), "test": ids(&split.test),
    });
    folder.write("split.json", format!("{parts:#}\n").as_bytes())?;
    folder.publish()?;
    Ok(out.to_path_buf())
}

/// The name of a text of the pool in the files.
pub fn text_id(text: usize) -> String {
    format!("text-{text:05}")
}

/// Writes embeddings `[n, width]` as `<stem>.npy`, and their ids, one per line, as `<stem>.txt`.
///
/// # Errors
/// As many ids as rows are needed; a NaN or an infinity; a file exists and `force` is off; the disk refuses.
pub fn write_embeddings(stem: &Path, rows: &[f32], ids: &[String], force: bool) -> Result<()> {
    if ids.is_empty() || !rows.len().is_multiple_of(ids.len()) {
        let want = format!("whole rows for {} ids", ids.len());
        return Err(Error::shape("write embeddings", "rows", want, format!("{} values", rows.len())));
    }
    write_npy(&stem.with_extension("npy"), rows, rows.len() / ids.len(), force)?;
    write_ids(&stem.with_extension("txt"), ids, force)
}

/// The questions about an image: one for each attribute, in random order. None is for yes or no: a decoder of this size
/// answers those no better than by chance.
pub fn questions(digits: &Digits, image: usize) -> Vec<Question> {
    let mut random = Random::of(digits.seed(), Stream::Questions(image));
    let Some(attributes) = digits.attributes().get(image) else { return Vec::new() };
    random.choose(ATTRIBUTES, ATTRIBUTES).into_iter().map(|k| question(attributes, k)).collect()
}

fn conversations(digits: &Digits, images: &[usize]) -> Vec<u8> {
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    let records = images.iter().map(|&image| {
        let asked = questions(digits, image);
        let turns = asked.iter().enumerate().flat_map(|(i, q)| {
            let human = if i == 0 { format!("<image>\n{}", q.question) } else { q.question.clone() };
            [turn("human", &human), turn("gpt", q.answer)]
        });
        json!({"id": Digits::id(image), "image": Digits::id(image), "conversations": turns.collect::<Vec<_>>()})
    });
    format!("{:#}\n", Value::Array(records.collect())).into_bytes()
}

fn lines(records: impl Iterator<Item = Value>) -> Vec<u8> {
    records.map(|r| format!("{r}\n")).collect::<String>().into_bytes()
}
