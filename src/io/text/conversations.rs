//! Stage 2: conversations in LLaVA's form, each joined to its image's embedding (paper, section 5).

use std::path::Path;

use serde_json::{Map, Value};

use super::chat::{IMAGE, Role, Turn};
use super::samples::{Join, Parsed, SampleOptions, Samples, collect};
use super::template::ChatTemplate;
use super::tokenizer::Tokenizer;
use crate::Result;
use crate::io::{IdIndex, Records, records};

impl Samples {
    /// Reads records `{id, image, conversations: [{from, value}, …]}` from a `.jsonl` file or a JSON array. The model's
    /// chat template writes them down; the loss is on the responses and the mark that ends each.
    ///
    /// The image stands first in the turn that has `<image>`, on a line of its own, or in the first human turn if none has. A record
    /// without `image` is text alone.
    ///
    /// # Errors
    /// A file that cannot be read or is no JSON (with the line), a record without id or conversations, an unknown
    /// role, no response, an empty turn, `<image>` without an image, twice or in a response, a conversation that the
    /// template refuses, missing embeddings unless `skip_missing` is on, or nothing left to train on.
    pub fn conversations(
        path: &Path,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        index: &IdIndex,
        options: &SampleOptions,
    ) -> Result<Samples> {
        let parse = |object: &Map<String, Value>| parse(object, options.join);
        let encode = |turns: &Vec<Turn>| template.conversation(turns, tokenizer, options.visual_tokens);
        collect(Records::open(path)?, index, options, parse, encode)
    }
}

pub(super) fn parse(object: &Map<String, Value>, join: Join) -> Result<Parsed<Vec<Turn>>, String> {
    let names = image_names(object, join)?;
    let mut turns = parse_turns(object)?;
    place_image(&mut turns, !names.is_empty())?;
    Ok((names, turns))
}

/// What may name the embedding of a record's image, in the order in which it is looked for; nothing without an image.
pub(super) fn image_names(object: &Map<String, Value>, join: Join) -> Result<Vec<String>, String> {
    let image = match object.get("image") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(image)) => image.clone(),
        Some(other) => {
            let problem = format!("field \"image\" is {}", records::short(other));
            return Err(format!("{problem}, but one name is needed: there is one embedding per record"));
        }
    };
    Ok(match join {
        Join::Id => vec![records::id(object, "id")?],
        Join::Image => vec![image],
        Join::Auto => records::id(object, "id").into_iter().chain([image]).collect(),
    })
}

fn parse_turns(object: &Map<String, Value>) -> Result<Vec<Turn>, String> {
    let list = match object.get("conversations") {
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(format!("field \"conversations\" is {}, but a list is needed", records::short(other)));
        }
        None => return records::text(object, "conversations").map(|_| Vec::new()),
    };
    let mut turns = Vec::with_capacity(list.len());
    for (i, value) in list.iter().enumerate() {
        let within = |problem: String| format!("turn {i}: {problem}");
        let turn = value.as_object().ok_or_else(|| within(format!("{} is no object", records::short(value))))?;
        let from = records::text(turn, "from").map_err(within)?;
        let role = Role::parse(from).ok_or_else(|| {
            within(format!("unknown role {from:?}; known are system, human (or user) and gpt (or assistant)"))
        })?;
        let text = records::text(turn, "value").map_err(within)?;
        if text.trim().is_empty() {
            return Err(within(format!("the text of {from:?} is empty; remove the record")));
        }
        if role == Role::Assistant && !turns.iter().any(|turn: &Turn| turn.role == Role::User) {
            return Err(within("a response comes before any question".to_string()));
        }
        turns.push(Turn { role, text: text.to_string() });
    }
    match turns.iter().any(|turn| turn.role == Role::Assistant) {
        true => Ok(turns),
        false => Err("the conversation has no response (from \"gpt\") to learn".to_string()),
    }
}

/// Puts `<image>` first in its turn, as the published preprocessing does.
fn place_image(turns: &mut [Turn], image: bool) -> Result<(), String> {
    let marks: usize = turns.iter().map(|turn| turn.text.matches(IMAGE).count()).sum();
    let elsewhere = turns.iter().any(|turn| turn.role != Role::User && turn.text.contains(IMAGE));
    match (marks, image) {
        (0, false) => return Ok(()),
        (0 | 1, true) if !elsewhere => {}
        (_, false) => return Err(format!("the text has {IMAGE}, but the record has no field \"image\"")),
        (0 | 1, true) => return Err(format!("{IMAGE} belongs into a human turn")),
        (_, true) => return Err(format!("{marks} times {IMAGE}; there is one embedding per record")),
    }
    let turn = turns.iter_mut().filter(|turn| turn.role == Role::User).max_by_key(|turn| turn.text.contains(IMAGE));
    // Among equals `max_by_key` takes the last, but without a mark the first turn is meant.
    let turn = match (marks, turn) {
        (1, Some(turn)) => turn,
        _ => turns.iter_mut().find(|turn| turn.role == Role::User).ok_or("the conversation has no human turn")?,
    };
    let rest = turn.text.replace(IMAGE, "");
    turn.text = format!("{IMAGE}\n{}", rest.trim()).trim_end().to_string();
    Ok(())
}
