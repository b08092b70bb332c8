//! Questions with known answers.

use std::path::Path;

use serde_json::{Map, Value};

use super::chat::{IMAGE, Role, Turn};
use super::conversations;
use super::samples::{Join, Missing, Parsed};
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
    /// The conversation that the answer is to follow; `<image>` stands in it.
    pub turns: Vec<Turn>,
    /// The right answers.
    pub answers: Vec<String>,
    /// The row of its embedding; `None` without an image.
    pub row: Option<u32>,
}

impl Question {
    /// Reads records from a `.jsonl` file or a JSON array: `{id, image, question, answer, type}`, where `answer` is a text, a number
    /// or a list of right answers, or `{id, image, conversations, type}`, of which the last response is the right answer.
    /// `type` may be called `question_type` or `category`, or be absent. Besides the questions, how many were left out for want of an
    /// embedding.
    ///
    /// # Errors
    /// A file that cannot be read or is no JSON (with the line), a record in neither form, missing embeddings unless
    /// `skip_missing` is on, or no question left.
    pub fn read(path: &Path, index: &IdIndex, join: Join, skip_missing: bool) -> Result<(Vec<Question>, u64)> {
        let mut list = Records::open(path)?;
        let (mut questions, mut missing, mut read) = (Vec::new(), Missing::default(), 0);
        while let Some(record) = list.next() {
            let (line, object) = record?;
            read += 1;
            let (names, mut question) = parse(&object, join).map_err(|problem| list.error(line, problem))?;
            if let Some(row) = missing.find(index, names) {
                question.row = row;
                questions.push(question);
            }
        }
        missing.settle(&list, read, skip_missing)?;
        match questions.is_empty() {
            true => Err(Error::format(path, "holds no question that can be asked")),
            false => Ok((questions, missing.count)),
        }
    }
}

fn parse(object: &Map<String, Value>, join: Join) -> Result<Parsed<Question>, String> {
    let kind = TYPES.iter().find_map(|name| object.get(*name)).filter(|value| !value.is_null());
    let kind = match kind {
        None => "all".to_string(),
        Some(value) => records::id_of(value).ok_or_else(|| format!("its type is {}", records::short(value)))?,
    };
    let id = records::id(object, "id").unwrap_or_default();
    let question = |turns, answers| Question { id, kind, turns, answers, row: None };
    if object.contains_key("conversations") {
        let (names, mut turns) = conversations::parse(object, join)?;
        // Only responses can stand last after the parser; what follows the last one is not asked.
        while turns.last().is_some_and(|turn| turn.role != Role::Assistant) {
            turns.pop();
        }
        let answer = turns.pop().map(|turn| turn.text).unwrap_or_default();
        return Ok((names, question(turns, vec![answer])));
    }
    let text = records::text(object, "question")?.trim();
    let names = conversations::image_names(object, join)?;
    let text = match (!names.is_empty(), text.contains(IMAGE)) {
        (true, false) => format!("{IMAGE}\n{text}"),
        (false, true) => return Err(format!("the question has {IMAGE}, but the record has no field \"image\"")),
        _ => text.to_string(),
    };
    Ok((names, question(vec![Turn { role: Role::User, text }], answers(object)?)))
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
