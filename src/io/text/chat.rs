//! The model's own way of writing down a conversation.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, context};
use serde_json::Value;

use super::tokenizer::{Tokenizer, object};
use crate::{Error, Result};

/// Stands in a text where the image is.
pub const IMAGE: &str = "<image>";

/// Steps that a template may take.
const FUEL: u64 = 50_000_000;
const TEMPLATE: &str = "chat";

/// Llama 3's, for folders that bring none.
const LLAMA3: &str = "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n\
    {{ m.content | trim }}<|eot_id|>{% endfor %}\
    {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";

/// ChatML (Qwen2 and many others), for folders that bring none.
const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Instructions before the conversation.
    System,
    /// The human.
    User,
    /// The model.
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }

    /// The role that LLaVA's files (`human`, `gpt`) or others (`user`, `assistant`) call so.
    pub fn parse(name: &str) -> Option<Role> {
        match name {
            "system" => Some(Role::System),
            "human" | "user" => Some(Role::User),
            "gpt" | "assistant" => Some(Role::Assistant),
            _ => None,
        }
    }
}

/// One contribution to a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub text: String,
}

/// Writes conversations as the model was taught to read them.
#[derive(Debug)]
pub struct ChatTemplate {
    path: PathBuf,
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// A part of a conversation's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub text: String,
    /// Whether the model is to say it.
    pub response: bool,
}

impl ChatTemplate {
    /// The template of a model folder: `chat_template.jinja`, else the one in `tokenizer_config.json` (of several the one
    /// called `default`), else Llama 3's or ChatML, whichever has its marks in the vocabulary.
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
            (file, text)
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
        let token = |name| tokenizer.named_token(name).unwrap_or_default();
        let mut bos_token = token("bos_token");
        if bos_token.is_empty() && tokenizer.token_id("<|begin_of_text|>").is_some() {
            bos_token = "<|begin_of_text|>".to_string();
        }
        ChatTemplate::new(source, path, bos_token, token("eos_token"))
    }

    fn new(source: String, path: PathBuf, bos_token: String, eos_token: String) -> Result<ChatTemplate> {
        let mut environment = Environment::new();
        // As Transformers sets Jinja2 up.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| Error::format(&path, format!("the chat template's syntax: {e}")))?);
        // A folder from anywhere must not keep us busy for ever.
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned(TEMPLATE, source)
            .map_err(|e| Error::format(&path, format!("the chat template is not valid: {e}")))?;
        Ok(ChatTemplate { path, environment, bos_token, eos_token })
    }

    /// A conversation as text, special tokens written out. With `add_generation_prompt` it ends where the model's answer
    /// begins.
    ///
    /// # Errors
    /// The template refuses the conversation (roles out of order, no system turn allowed).
    pub fn render(&self, turns: &[Turn], add_generation_prompt: bool) -> Result<String> {
        let message = |turn: &Turn| context! { role => turn.role.name(), content => turn.text.as_str() };
        let messages: Vec<minijinja::Value> = turns.iter().map(message).collect();
        let template = self.environment.get_template(TEMPLATE);
        let rendered = template.and_then(|template| {
            template.render(context! {
                messages,
                add_generation_prompt,
                bos_token => self.bos_token.as_str(),
                eos_token => self.eos_token.as_str(),
            })
        });
        rendered.map_err(|e| Error::format(&self.path, format!("the chat template refuses a conversation: {e}")))
    }

    /// The token that ends a response: the last special one that the template writes after it.
    ///
    /// # Errors
    /// The template refuses one question and its answer.
    pub fn response_end(&self, tokenizer: &Tokenizer) -> Result<Option<u32>> {
        let turn = |role, text: &str| Turn { role, text: text.to_owned() };
        let parts = self.parts(&[turn(Role::User, "a"), turn(Role::Assistant, "b")])?;
        let response = parts.last().map_or("", |part| &part.text);
        Ok(tokenizer.encode(response)?.into_iter().rev().find(|id| tokenizer.is_special(*id)))
    }

    /// A conversation in parts, prompts and responses by turns.
    pub(super) fn parts(&self, turns: &[Turn]) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut done = String::new();
        for (i, turn) in turns.iter().enumerate() {
            if turn.role != Role::Assistant {
                continue;
            }
            for (text, response) in
                [(self.render(&turns[..i], true)?, false), (self.render(&turns[..=i], false)?, true)]
            {
                let Some(new) = text.strip_prefix(&done) else {
                    let problem = "the chat template changes earlier text when a turn is added";
                    return Err(Error::format(&self.path, format!("{problem}, so responses cannot be told apart")));
                };
                parts.push(Part { text: new.to_string(), response });
                done = text;
            }
        }
        Ok(parts)
    }
}

impl ChatTemplate {
    /// A template, or the default one of a list of them.
    pub(in crate::io) fn choose(value: &Value) -> Option<String> {
        choose(value)
    }
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
