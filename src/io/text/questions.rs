//! Questions with known answers.

use std::path::Path;

use serde_json::{Map, Value};

use super::bad::{BadRecords, SkipBad};
use super::captions;
use super::chat::{IMAGE, Role, Turn};
use super::images::Image;
use super::samples::{Join, Missing, warn_of_leading_responses};
use super::turns::{self, Conversation};
use crate::io::{IdIndex, Records, records};
use crate::{Error, Result};

/// Fields that name a question's type; the first that is there counts.
const TYPES: [&str; 3] = ["type", "question_type", "category"];

/// A question about an image, or without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The record's id; empty if it has none.
    pub id: String,
    /// Its type; `all` where the record names none.
    pub kind: String,
    /// The conversation that the answer is to follow; `<image>` stands in it. Without turns the answer is a plain text about the image, as
    /// stage 1 trains.
    pub turns: Vec<Turn>,
    /// The right answers.
    pub answers: Vec<String>,
    /// The row of its embedding; `None` without an image.
    pub row: Option<u32>,
}

/// How questions are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuestionOptions {
    /// What joins records to embeddings.
    pub join: Join,
    /// Leave out records whose embedding is missing, instead of refusing the file.
    pub skip_missing: bool,
    /// How many bad records are left out, instead of refusing the file.
    pub skip_bad: SkipBad,
    /// How many questions are read at the most; the file is read no further.
    pub most: Option<usize>,
}

/// The questions of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Those that can be asked.
    pub questions: Vec<Question>,
    /// Records left out because their embedding is missing.
    pub missing: u64,
    /// Bad records that were left out.
    pub skipped_bad: u64,
}

impl Questions {
    /// Reads records from a `.jsonl` file or a JSON array: `{id, image, question, answer, type}`, where `answer` is a text, a number
    /// or a list of right answers, or `{id, image, conversations, type}`, of which the last response is the right answer; conversations may
    /// have the forms that [`Samples::conversations`](super::Samples::conversations) takes. `type` may be called `question_type` or
    /// `category`, or be absent.
    ///
    /// # Errors
    /// A file that cannot be read; broken JSON in an array; more bad records than `skip_bad` allows, the first ten with their reasons;
    /// missing embeddings unless `skip_missing` is on; no question left.
    pub fn read(path: &Path, index: &IdIndex, options: QuestionOptions) -> Result<Questions> {
        Questions::read_with(path, index, options, &parse)
    }

    /// Reads captions as [`Samples::captions`](super::Samples::captions) does: questions without turns, to which the caption is the right answer.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn captions(path: &Path, index: &IdIndex, options: QuestionOptions) -> Result<Questions> {
        let parse = |object: &Map<String, Value>, join| {
            let (names, text) = captions::parse(object, join)?;
            let id = records::id(object, "id").unwrap_or_default();
            // Fields of that name mean all kinds of things beside captions.
            let kind = kind(object).unwrap_or_else(|_| "all".to_string());
            Ok((names, Question { id, kind, turns: Vec::new(), answers: vec![text], row: None }, false))
        };
        Questions::read_with(path, index, options, &parse)
    }

    fn read_with(path: &Path, index: &IdIndex, options: QuestionOptions, parse: &Parse<'_>) -> Result<Questions> {
        let mut list = Records::open(path)?;
        let (mut found, mut missing, mut bad) = (Questions::default(), Missing::default(), BadRecords::default());
        let (mut read, mut dropped) = (0, 0);
        let most = options.most.unwrap_or(usize::MAX);
        while let Some(record) = if found.questions.len() < most { list.next_record()? } else { None } {
            read += 1;
            let parsed = record
                .and_then(|record| parse(&record.object, options.join).map_err(|problem| list.bad(&record, problem)));
            match parsed {
                Ok((names, mut question, led)) => {
                    dropped += u64::from(led);
                    if let Some(row) = missing.find(index, names) {
                        question.row = row;
                        found.questions.push(question);
                    }
                }
                Err(problem) => bad.add(problem),
            }
        }
        bad.settle(path, read, options.skip_bad)?;
        missing.settle(&list, read, options.skip_missing)?;
        warn_of_leading_responses(path, dropped);
        (found.missing, found.skipped_bad) = (missing.count, bad.count);
        match (found.questions.is_empty(), bad.count) {
            (false, _) => Ok(found),
            (true, 0) => Err(Error::format(path, "holds no question that can be asked")),
            (true, _) => Err(Error::format(path, bad.words(read, "cannot be asked, and no other is left"))),
        }
    }
}

/// What is made of a record: the names of its embedding, its question, and whether a response before the first question was dropped.
pub(super) type Parsed = Result<(Vec<String>, Question, bool), String>;
type Parse<'a> = dyn Fn(&Map<String, Value>, Join) -> Parsed + 'a;

fn kind(object: &Map<String, Value>) -> Result<String, String> {
    match TYPES.iter().find_map(|name| object.get(*name)).filter(|value| !value.is_null()) {
        None => Ok("all".to_string()),
        Some(value) => records::id_of(value).ok_or_else(|| format!("its type is {}", records::short(value))),
    }
}

pub(super) fn parse(object: &Map<String, Value>, join: Join) -> Parsed {
    let kind = kind(object)?;
    let id = records::id(object, "id").unwrap_or_default();
    let question = |turns, answers| Question { id, kind, turns, answers, row: None };
    if turns::is_conversation(object) {
        let Conversation { names, mut turns, dropped } = turns::parse(object, join)?;
        // Only responses can stand last after the parser; what follows the last one is not asked.
        while turns.last().is_some_and(|turn| turn.role != Role::Assistant) {
            turns.pop();
        }
        let answer = turns.pop().map(|turn| turn.text).unwrap_or_default();
        return Ok((names, question(turns, vec![answer]), dropped));
    }
    let text = records::text(object, "question")?.trim();
    let names = Image::of(object)?.names(object, join)?;
    let text = match (!names.is_empty(), text.matches(IMAGE).count()) {
        _ if text.is_empty() => return Err("its question is empty".to_string()),
        (true, 0) => format!("{IMAGE}\n{text}"),
        (false, 0) | (true, 1) => text.to_string(),
        (true, marks) => return Err(format!("{marks} times {IMAGE}; there is one embedding per record")),
        (false, _) => return Err(format!("the question has {IMAGE}, but the record has no field \"image\"")),
    };
    Ok((names, question(vec![Turn { role: Role::User, text }], answers(object)?), false))
}

fn answers(object: &Map<String, Value>) -> Result<Vec<String>, String> {
    let value = object.get("answer").or(object.get("answers")).ok_or("has no field \"answer\"")?;
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("its answer is {}, but a text is needed", records::short(other))),
    };
    match value {
        Value::Array(list) if !list.is_empty() => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}
