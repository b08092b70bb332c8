//! Stage 2: conversations, each joined to its image's embedding (paper, section 5).

use std::cell::Cell;
use std::path::Path;

use serde_json::{Map, Value};

use super::chat::Turn;
use super::samples::{SampleOptions, Samples, collect};
use super::template::ChatTemplate;
use super::tokenizer::Tokenizer;
use super::turns;
use crate::Result;
use crate::io::{IdIndex, Records};

impl Samples {
    /// Reads records `{id, image, conversations: [{from, value}, …]}` from a `.jsonl` file or a JSON array, or such with `messages: [{role,
    /// content}, …]`, whose contents are texts or lists of parts (`{type: "text", text}`, `{type: "image"}`). The model's chat template
    /// writes them down; the loss is on the responses and the mark that ends each.
    ///
    /// The image stands first in the turn that has `<image>`, on a line of its own, or in the first human turn if none has. Its name is in
    /// `image` or `images` (a text, or a list of one); a record without is text alone. A response before the first question is dropped, as the
    /// published preprocessing does.
    ///
    /// # Errors
    /// A file that cannot be read; broken JSON in an array; more bad records than `skip_bad` allows, the first ten with their reasons: a line
    /// that is no JSON, no conversation, an unknown role, no response, an empty turn, several images, `<image>` without an image, twice or in
    /// a response, a weight other than 1, a conversation that the template refuses; missing embeddings unless `skip_missing` is on; nothing
    /// left to train on.
    pub fn conversations(
        path: &Path,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        index: &IdIndex,
        options: &SampleOptions,
    ) -> Result<Samples> {
        let dropped = Cell::new(0);
        let parse = |object: &Map<String, Value>| {
            let conversation = turns::parse(object, options.join)?;
            turns::check_weights(object)?;
            dropped.set(dropped.get() + u64::from(conversation.dropped));
            Ok((conversation.names, conversation.turns))
        };
        let encode = |turns: &Vec<Turn>| template.conversation(turns, tokenizer, options.visual_tokens);
        let mut samples = collect(Records::open(path)?, index, options, parse, encode)?;
        samples.set_leading_responses(path, dropped.get());
        Ok(samples)
    }
}
