//! Stage 1: texts, each joined to its embedding (paper, section 5).

use std::path::Path;

use serde_json::{Map, Value};

use super::images::Image;
use super::samples::{Join, SampleOptions, Samples, caption_entries, collect};
use super::tokenizer::Tokenizer;
use super::turns;
use crate::Result;
use crate::io::{IdIndex, Records, records};

/// Other names of the field `text`.
const CAPTIONS: [&str; 2] = ["caption", "blip_caption"];

impl Samples {
    /// Reads records `{id, text}` from a `.jsonl` file or a JSON array; the text may be called `caption` or `blip_caption`, or be the answer
    /// in a conversation of one question and one answer about an image, as LLaVA's pretraining has it. Each becomes BOS (if the model has
    /// one), the visual tokens, the text and a newline, without EOS; the loss is on the text and the newline.
    ///
    /// # Errors
    /// A file that cannot be read; broken JSON in an array; more bad records than `skip_bad` allows, the first ten with their reasons: a line
    /// that is no JSON, no id, no text or an empty one; missing embeddings unless `skip_missing` is on; nothing left to train on.
    pub fn captions(path: &Path, tokenizer: &Tokenizer, index: &IdIndex, options: &SampleOptions) -> Result<Samples> {
        let parse = |object: &Map<String, Value>| parse(object, options.join);
        let encode = |text: &String| caption_entries(tokenizer, text, options.visual_tokens);
        collect(Records::open(path)?, index, options, parse, encode)
    }
}

/// What may name the text's embedding, and the text.
pub(super) fn parse(object: &Map<String, Value>, join: Join) -> Result<(Vec<String>, String), String> {
    let text = caption(object)?.trim().to_string();
    let names = names(object, join)?;
    match text.is_empty() {
        true => Err("its text is empty".to_string()),
        false => Ok((names, text)),
    }
}

/// Whether a record has a caption in a field of its own.
pub(in crate::io) fn has_caption(object: &Map<String, Value>) -> bool {
    object.contains_key("text") || CAPTIONS.iter().any(|name| object.contains_key(*name))
}

fn caption(object: &Map<String, Value>) -> Result<String, String> {
    let there = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
    let found: Vec<&str> = CAPTIONS.into_iter().filter(|name| there(name)).collect();
    let name = match found[..] {
        _ if there("text") => "text",
        [a, b] if object.get(a) != object.get(b) => {
            return Err(format!(
                "has both {a:?} and {b:?}, and they differ; remove one of them, or call the right one \"text\""
            ));
        }
        [name, ..] => name,
        [] if turns::is_conversation(object) => return turns::pretraining_caption(object),
        [] => "text",
    };
    match object.get(name) {
        Some(Value::Array(list)) if list.len() == 1 && list[0].is_string() => {
            Ok(list[0].as_str().unwrap_or_default().to_string())
        }
        _ => records::text(object, name).map(str::to_string),
    }
}

/// What may name the text's embedding: its id, else its image.
pub(super) fn names(object: &Map<String, Value>, join: Join) -> Result<Vec<String>, String> {
    match Image::of(object)? {
        Image::Absent if join == Join::Image => Err("it is to be joined by its image, and names none".to_string()),
        Image::Named(name) if join == Join::Auto && !object.contains_key("id") => Ok(vec![name]),
        Image::Named(name) if join == Join::Auto => Ok(vec![records::id(object, "id")?, name]),
        image if join == Join::Image => image.names(object, join),
        _ => Ok(vec![records::id(object, "id")?]),
    }
}
