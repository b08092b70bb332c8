//! The model's own way of writing down a conversation.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use minijinja::{Environment, context};
use serde_json::Value;

use super::chat::Turn;
use super::date::ChatDate;
use super::jinja::{self, BLOCK, MARKER, TEMPLATE};
use super::tokenizer::{Tokenizer, object};
use crate::{Error, Result};

/// Llama 3's, for folders that bring none.
const LLAMA3: &str = "{{ bos_token or '<|begin_of_text|>' }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n\
    {{ m.content | trim }}<|eot_id|>{% endfor %}\
    {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";

/// ChatML (Qwen2 and many others), for folders that bring none.
const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Writes conversations as the model was taught to read them.
#[derive(Debug)]
pub struct ChatTemplate {
    pub(super) path: PathBuf,
    environment: Environment<'static>,
    /// The special tokens that the tokenizer names, under their names.
    tokens: Vec<(String, String)>,
    dated: bool,
    blocks: bool,
}

/// A conversation as text.
pub(super) struct Rendered {
    pub text: String,
    /// What the template's `{% generation %}` blocks wrote, in bytes.
    pub blocks: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// The template of a model folder: `chat_template.jinja`, else the one in `tokenizer_config.json` (of several the one
    /// called `default`), else Llama 3's or ChatML, whichever has its marks in the vocabulary. It is now for `strftime_now`.
    ///
    /// # Errors
    /// A template that cannot be read or is no valid Jinja2; none at all and neither family's marks.
    pub fn open(folder: &Path, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        let file = folder.join("chat_template.jinja");
        let older = folder.join("chat_template.json");
        // A GGUF file's template came with its tokenizer.
        let settings = if folder.is_file() { folder.to_path_buf() } else { folder.join("tokenizer_config.json") };
        let (path, source) = if file.is_file() {
            let text = std::fs::read_to_string(&file).map_err(Error::io("read", &file))?;
            (file, text.trim_start_matches('\u{feff}').to_owned())
        } else if let Some(text) = tokenizer.settings().get("chat_template").and_then(choose) {
            (settings, text)
        } else if older.is_file() {
            let text = object(&older)?.get("chat_template").and_then(choose);
            let text = text.ok_or_else(|| Error::format(&older, "has no text \"chat_template\""))?;
            (older, text)
        } else if tokenizer.token_id("<|start_header_id|>").is_some() {
            (settings, LLAMA3.to_string())
        } else if tokenizer.token_id("<|im_start|>").is_some() {
            (settings, CHATML.to_string())
        } else {
            let remedy = "put the model's template into chat_template.jinja";
            return Err(Error::format(folder, format!("the model comes without a chat template; {remedy}")));
        };
        ChatTemplate::new(&source, path, tokenizer)
    }

    /// The template `source` of a file, with the special tokens that `tokenizer` names.
    ///
    /// # Errors
    /// No valid Jinja2.
    pub fn new(source: &str, path: PathBuf, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        let environment = jinja::environment(source, &path)?;
        let has = |word: &str| source.contains(word);
        let tokens = tokenizer.named_tokens();
        Ok(ChatTemplate { path, environment, tokens, dated: has("strftime_now"), blocks: has("endgeneration") })
    }

    /// The template that a field `chat_template` holds: a text, or the default one of a list.
    pub(in crate::io) fn choose(value: &Value) -> Option<String> {
        choose(value)
    }

    /// The same with another date for `strftime_now`.
    #[must_use]
    pub fn at(mut self, date: ChatDate) -> ChatTemplate {
        jinja::set_date(&mut self.environment, move || date);
        self
    }

    /// Whether the template writes a date, so that the same conversation reads differently tomorrow.
    pub fn is_dated(&self) -> bool {
        self.dated
    }

    /// Whether the template says by `{% generation %}` blocks what the model is to say.
    pub(super) fn has_blocks(&self) -> bool {
        self.blocks
    }

    /// A conversation as text, special tokens written out. With `add_generation_prompt` it ends where the model's answer
    /// begins.
    ///
    /// # Errors
    /// The template refuses the conversation (roles out of order, no system turn allowed).
    pub fn render(&self, turns: &[Turn], add_generation_prompt: bool) -> Result<String> {
        self.render_blocks(turns, add_generation_prompt).map(|rendered| rendered.text)
    }

    pub(super) fn render_blocks(&self, turns: &[Turn], add_generation_prompt: bool) -> Result<Rendered> {
        // They would be taken for this program's own marks.
        let own =
            |turn: &Turn| turn.text.contains(BLOCK) || (turn.text.contains(MARKER) && turn.text.chars().count() > 1);
        if let Some(i) = turns.iter().position(own) {
            let problem = "has a code point of U+FDD0 to U+FDD2, which no text may have; remove it";
            return Err(Error::argument("conversation", format!("turn {i} {problem}")));
        }
        let message = |turn: &Turn| context! { role => turn.role.name(), content => turn.text.as_str() };
        let messages: Vec<minijinja::Value> = turns.iter().map(message).collect();
        let named: BTreeMap<String, String> = self.tokens.iter().cloned().collect();
        let none = ();
        let values = context! { messages, add_generation_prompt, tools => none, documents => none, ..minijinja::Value::from(named) };
        let rendered = self.environment.get_template(TEMPLATE).and_then(|template| template.render(values));
        let text = rendered.map_err(|e| {
            Error::format(&self.path, format!("the chat template refuses a conversation: {}", reason(&e)))
        })?;
        Ok(without_marks(&text))
    }
}

/// What was wrong, with what lies behind it.
fn reason(e: &minijinja::Error) -> String {
    let mut text = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Takes the marks of `{% generation %}` blocks out of a text.
fn without_marks(marked: &str) -> Rendered {
    let mut rendered = Rendered { text: String::with_capacity(marked.len()), blocks: Vec::new() };
    let mut start = None;
    for c in marked.chars() {
        match c {
            c if c == BLOCK[0] => start = Some(rendered.text.len()),
            c if c == BLOCK[1] => {
                let end = rendered.text.len();
                rendered.blocks.extend(start.take().map(|start| start..end));
            }
            c => rendered.text.push(c),
        }
    }
    rendered
}

/// A template, or the default one of a list of them.
fn choose(value: &Value) -> Option<String> {
    let list = match value {
        Value::String(text) => return Some(text.clone()),
        Value::Array(list) => list,
        _ => return None,
    };
    let named = |name: &str| list.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    named("default").or(list.first())?.get("template").and_then(Value::as_str).map(str::to_string)
}
