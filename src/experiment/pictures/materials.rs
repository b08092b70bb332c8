//! What all rows of a seed share: parts, embeddings, and the files that training and asking read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::collection::Collection;
use super::parts::PictureParts;
use super::rows::{Kind, Rows, caption_id, files};
use super::study::PicturesSettings;
use crate::align::fit;
use crate::device::Device;
use crate::experiment::arm::Arm;
use crate::experiment::demo::moments;
use crate::experiment::protocol::retrieval;
use crate::experiment::random::{Random, Stream};
use crate::inference::Marks;
use crate::io::{Join, Question, QuestionOptions, Questions, write_atomically};
use crate::stats::MemoryRows;
use crate::train::{EmbeddingFiles, NamedEmbeddings};
use crate::{Error, Result};

/// Files of a seed's folder, each made once.
#[derive(Debug)]
pub(super) struct PictureMaterials<'a> {
    pub folder: PathBuf,
    /// The language model.
    pub model: &'a Path,
    pub collection: &'a Collection,
    pub parts: PictureParts,
    pub rows: Arc<Rows>,
    pub settings: PicturesSettings,
}

fn lines(records: impl Iterator<Item = Value>) -> String {
    records.map(|record| format!("{record}\n")).collect()
}

impl PictureMaterials<'_> {
    /// A file of the folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes the files, but for the embeddings: `texts.jsonl` (the pairs' captions by their own ids), `paired.jsonl` (the same by their
    /// pictures), `test.jsonl` (captions of the held-out pictures that are asked about), and, where there are conversations,
    /// `instruction.jsonl` and `questions.jsonl`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self) -> Result<()> {
        crate::io::url::create_folders(&self.folder)?;
        let put = |name: &str, text: String| write_atomically(&self.at(name), false, text.as_bytes());
        let (names, texts) = (self.collection.names(), self.collection.all_captions());
        let numbers = self.collection.caption_numbers();
        let captions = self.parts.pairs.iter().flat_map(|i| numbers[*i].clone());
        put("texts.jsonl", lines(captions.map(|k| json!({"id": caption_id(k), "text": texts[k]}))))?;
        let of = |pictures: &[usize]| {
            let records = pictures.iter().flat_map(|&i| {
                let id = &names[i];
                self.collection.captions(i).iter().map(move |text| json!({"id": id, "text": text}))
            });
            lines(records)
        };
        put("paired.jsonl", of(&self.parts.pairs))?;
        put("test.jsonl", of(self.asked()))?;
        if self.collection.asks() {
            let all = |pictures: &[usize]| -> Vec<Value> {
                pictures.iter().flat_map(|i| self.collection.conversations(*i)).cloned().collect()
            };
            put("instruction.jsonl", lines(all(&self.parts.instruction).into_iter()))?;
            let mut questions = all(&self.parts.test);
            Random::of(self.settings.seed, Stream::Questions(0)).shuffle(&mut questions);
            questions.truncate(self.settings.asked);
            put("questions.jsonl", lines(questions.into_iter()))?;
        }
        Ok(())
    }

    /// The held-out pictures that are asked about.
    pub fn asked(&self) -> &[usize] {
        &self.parts.test[..self.settings.asked.min(self.parts.test.len())]
    }

    /// Rows of the pairs' captions, `[n, width]`.
    pub fn texts(&self) -> Vec<f32> {
        let numbers = self.collection.caption_numbers();
        self.rows.of_captions(self.parts.pairs.iter().flat_map(|i| numbers[*i].clone()))
    }

    /// The files of rows of one kind, and their ids.
    pub fn embeddings(&self, kind: Kind) -> (PathBuf, PathBuf) {
        files(&self.rows.folder, kind)
    }

    /// The rows of all pictures, opened.
    ///
    /// # Errors
    /// Files that changed meanwhile.
    pub fn open_pictures(&self) -> Result<NamedEmbeddings> {
        let (rows, ids) = self.embeddings(Kind::Pictures);
        let inputs = [rows];
        EmbeddingFiles { inputs: &inputs, ids: Some(&ids), key: None, column: None, id_column: None }.open()
    }

    /// Fits a row's aligner from the pairs' captions to the pool's pictures, and writes its statistics.
    ///
    /// # Errors
    /// A row without an aligner; what the fit or the disk say.
    pub fn statistics(&self, device: &Device, arm: &Arm) -> Result<PathBuf> {
        let Some(options) = arm.fit_options(self.settings.seed) else {
            return Err(Error::argument("statistics", format!("{} has no aligner", arm.name())));
        };
        let path = self.at(&format!("statistics-{}.safetensors", arm.noisy(0.0).slug()));
        if !path.exists() {
            let (texts, pool) = (self.texts(), self.rows.of_pictures(&self.parts.pool));
            let mut source = MemoryRows::f32("captions", &texts, self.rows.width)?;
            let mut target = MemoryRows::f32("pictures", &pool, self.rows.width)?;
            fit(device, &mut source, &mut target, &options)?.save(&path, false)?;
        }
        Ok(path)
    }

    /// The held-out pictures that are asked about, to be described: each with all its captions as right answers.
    pub fn to_describe(&self) -> Vec<Question> {
        let one = |&picture: &usize| Question {
            id: self.collection.names()[picture].clone(),
            kind: "all".to_owned(),
            turns: Vec::new(),
            answers: self.collection.captions(picture).to_vec(),
            row: Some(picture as u32),
        };
        self.asked().iter().map(one).collect()
    }

    /// The questions of a file of this folder.
    ///
    /// # Errors
    /// Records that are no conversations.
    pub fn questions(&self, name: &str, embeddings: &NamedEmbeddings) -> Result<Vec<Question>> {
        let options = QuestionOptions { join: Join::Image, ..Default::default() };
        Ok(Questions::read(&self.at(name), &embeddings.index, options)?.questions)
    }

    /// What the rows share, for results files: parts, the gap and the clouds' traces, how often a picture's own caption is the nearest, and
    /// what one reaches who always says the commonest caption or answer of those that are trained on.
    ///
    /// # Errors
    /// What the device says; conversations that cannot be read.
    pub fn json(&self, device: &Device) -> Result<Value> {
        let (texts, width) = (self.texts(), self.rows.width);
        let text = moments(device, &texts, width)?;
        let pool = moments(device, &self.rows.of_pictures(&self.parts.pool), width)?;
        let test = moments(device, &self.rows.of_pictures(&self.parts.test), width)?;
        let gap = |of: &[f64]| of.iter().zip(text.mean()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let numbers = self.collection.caption_numbers();
        let first = self.rows.of_captions(self.asked().iter().map(|i| numbers[*i].start));
        let PictureParts { pairs, pool: pool_part, instruction, test: test_part } = &self.parts;
        let mut value = json!({
            "seed": self.settings.seed, "width": width, "gap": gap(&pool.mean()), "gap_held_out": gap(&test.mean()),
            "trace_image": pool.trace(), "trace_text": text.trace(),
            "retrieval": retrieval(&self.rows.of_pictures(self.asked()), &first, width),
            "parts": {
                "pairs": pairs.len(), "pool": pool_part.len(), "instruction": instruction.len(),
                "test": test_part.len(), "asked": self.asked().len(), "captions": texts.len() / width.max(1),
            },
            "commonest_caption": self.commonest_caption(),
        });
        if self.collection.asks() {
            let embeddings = self.open_pictures()?;
            let learnt = self.questions("instruction.jsonl", &embeddings)?;
            let asked = self.questions("questions.jsonl", &embeddings)?;
            value["parts"]["conversations"] = json!(learnt.len());
            value["parts"]["questions"] = json!(asked.len());
            value["commonest_answer"] = said(commonest(learnt.iter().flat_map(|q| &q.answers)), &asked);
        }
        Ok(value)
    }

    fn commonest_caption(&self) -> Value {
        let captions = self.parts.pairs.iter().flat_map(|i| self.collection.captions(*i));
        said(commonest(captions), &self.to_describe())
    }
}

/// The commonest of texts; of several the first in alphabetical order.
fn commonest<'a>(texts: impl Iterator<Item = &'a String>) -> &'a str {
    let mut counts = BTreeMap::<&str, usize>::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    let mut best = ("", 0);
    for (text, count) in counts {
        if count > best.1 {
            best = (text, count);
        }
    }
    best.0
}

/// What one reaches who gives one answer to all questions.
fn said(text: &str, questions: &[Question]) -> Value {
    let marks: Vec<Marks> = questions.iter().map(|question| Marks::of(text, &question.answers)).collect();
    let [_, accuracy, f1] = Marks::means(&marks);
    let entries = [("text", json!(text)), ("accuracy", json!(accuracy)), ("f1", json!(f1))];
    Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_text_is_the_baseline() {
        let texts = ["b", "a", "b", "c", "a"].map(str::to_owned);
        assert_eq!((commonest(texts.iter()), commonest([].iter())), ("a", ""));
        let question = |answer: &str| Question {
            id: String::new(),
            kind: "all".to_owned(),
            turns: Vec::new(),
            answers: vec![answer.to_owned()],
            row: None,
        };
        let value = said("a", &[question("A."), question("b")]);
        assert_eq!((&value["accuracy"], &value["text"]), (&json!(0.5), &json!("a")));
    }
}
