//! Stage 1: texts, each joined to its embedding (paper, section 5).

use std::path::Path;

use super::samples::{SampleOptions, Samples, caption_entries, collect};
use super::tokenizer::Tokenizer;
use crate::Result;
use crate::io::{IdIndex, Records, records};

impl Samples {
    /// Reads records `{id, text}` from a `.jsonl` file or a JSON array. Each becomes BOS (if the model has one), the
    /// visual tokens, the text and a newline, without EOS; the loss is on the text and the newline.
    ///
    /// # Errors
    /// A file that cannot be read or is no JSON (with the line), a record without id or text, an empty text, missing
    /// embeddings unless `skip_missing` is on, or nothing left to train on.
    pub fn captions(path: &Path, tokenizer: &Tokenizer, index: &IdIndex, options: &SampleOptions) -> Result<Samples> {
        let parse = |object: &serde_json::Map<String, serde_json::Value>| {
            let id = records::id(object, "id")?;
            let text = records::text(object, "text")?.trim();
            match text.is_empty() {
                true => Err(format!("the text of {id:?} is empty; remove the record")),
                false => Ok((vec![id], text.to_string())),
            }
        };
        let encode = |text: &String| caption_entries(tokenizer, text, options.visual_tokens);
        collect(Records::open(path)?, index, options, parse, encode)
    }
}
