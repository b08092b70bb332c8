//! `tokenizer.json`, through the library that its format comes from.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::tokenizer::DecodeStream;
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer as HuggingFace,
};

use super::chat::IMAGE;
use super::samples::{TOKEN, VISUAL};
use crate::io::gguf;
use crate::io::model::{ModelFiles, read_object, read_object_if_there};
use crate::{Error, Result};

/// A model's tokenizer. Nothing is fetched over the network.
#[derive(Debug)]
pub struct Tokenizer {
    path: PathBuf,
    inner: HuggingFace,
    settings: Map<String, Value>,
    special: HashSet<u32>,
    bos: Option<u32>,
    largest: u32,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and, if there, `tokenizer_config.json` of a model folder; or the tokenizer in a GGUF file.
    ///
    /// # Errors
    /// No `tokenizer.json`, a tokenizer of a kind that is not read from GGUF files, or one that is malformed or has token ids of 2³⁰ or more.
    pub fn open(folder: &Path) -> Result<Tokenizer> {
        if let ModelFiles::Gguf(file) = ModelFiles::open(folder)? {
            let parts = gguf::tokenizer(&file)?;
            return Tokenizer::from_parts(folder, parts.json.to_string().as_bytes(), parts.settings);
        }
        let path = folder.join("tokenizer.json");
        let text = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let remedy =
                    "save the model's fast tokenizer there: AutoTokenizer.from_pretrained(…).save_pretrained(…)";
                Error::format(&path, format!("there is no such file; {remedy}"))
            }
            _ => Error::io("read", &path)(e),
        })?;
        let settings = read_object_if_there(folder.join("tokenizer_config.json"))?.unwrap_or_default();
        Tokenizer::from_parts(&path, &text, settings)
    }

    /// A tokenizer of the text of a `tokenizer.json` and the object of a `tokenizer_config.json`; `path` is its name for errors.
    fn from_parts(path: &Path, text: &[u8], settings: Map<String, Value>) -> Result<Tokenizer> {
        let path = path.to_path_buf();
        let broken = |e: tokenizers::Error| Error::format(&path, format!("not a valid tokenizer: {e}"));
        let mut inner = HuggingFace::from_bytes(text).map_err(broken)?;
        // Lengths are this crate's affair.
        inner.with_truncation(None).map_err(broken)?;
        inner.with_padding(None);
        let special = inner.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
        let special: HashSet<u32> = special.map(|(id, _)| id).collect();
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        if largest > TOKEN {
            return Err(Error::format(&path, format!("token id {largest} is not below 2^30")));
        }
        let mut tokenizer = Tokenizer { path, inner, settings, special, bos: None, largest };
        tokenizer.bos = tokenizer.find_bos()?;
        Ok(tokenizer)
    }

    /// The token that a text starts with: what the post-processor puts in front, or what the settings ask for.
    fn find_bos(&self) -> Result<Option<u32>> {
        let empty = self.inner.encode_fast("", true).map_err(|e| self.error("encode an empty text", &e))?;
        let named = self.named_token("bos_token").and_then(|token| self.token_id(&token));
        let first = empty.get_ids().first().copied();
        if first.is_some() && (named.is_none() || first == named) {
            let eos = self.named_token("eos_token").and_then(|token| self.token_id(&token));
            return Ok(first.filter(|id| Some(*id) != eos || named == eos));
        }
        let wanted = self.settings.get("add_bos_token").and_then(Value::as_bool).unwrap_or(false);
        Ok(named.filter(|_| wanted))
    }

    fn error(&self, action: &str, e: &tokenizers::Error) -> Error {
        Error::format(&self.path, format!("cannot {action}: {e}"))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `tokenizer_config.json`; empty without one.
    pub(in crate::io) fn settings(&self) -> &Map<String, Value> {
        &self.settings
    }

    /// A token that `tokenizer_config.json` names, such as `eos_token`.
    pub fn named_token(&self, name: &str) -> Option<String> {
        let value = self.settings.get(name)?;
        let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
        text.map(str::to_string)
    }

    /// The id of a token.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether a token is special: a mark such as the end of a turn, not text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The token that every text starts with; `None` for models without one (Qwen2).
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Checks that every token has a row in an embedding table of `vocab_size` rows.
    ///
    /// # Errors
    /// The tokenizer has a larger id: it is of another model.
    pub fn check_fits(&self, vocab_size: usize) -> Result<()> {
        if (self.largest as usize) < vocab_size {
            return Ok(());
        }
        let problem = format!("has token id {}, but the model's vocabulary has {vocab_size}", self.largest);
        Err(Error::format(&self.path, format!("{problem}; use the tokenizer that belongs to the model")))
    }

    /// The tokens of a text. Nothing is put before or after it; special tokens written out in it are recognised.
    ///
    /// # Errors
    /// The tokenizer refuses the text (one without a token for unknown words).
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| self.error("encode a text", &e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Tokenizer::encode`], with each `<image>` replaced by `visual_tokens` entries [`VISUAL`], [`VISUAL`] + 1 and so on.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_image(&self, text: &str, visual_tokens: usize) -> Result<Vec<u32>> {
        let mut entries = Vec::new();
        for (i, part) in text.split(IMAGE).enumerate() {
            if i > 0 {
                entries.extend((0..visual_tokens as u32).map(|k| VISUAL | k));
            }
            if !part.is_empty() {
                entries.extend(self.encode(part)?);
            }
        }
        Ok(entries)
    }

    /// The text of tokens, special ones left out.
    ///
    /// # Errors
    /// The tokenizer's decoder refuses them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|e| self.error("decode tokens", &e))
    }

    /// A decoder for tokens that come one by one.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, inner: self.inner.decode_stream(true) }
    }
}

/// Turns tokens into text as they come; a character made of several tokens appears with its last one.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    inner: DecodeStream<'a, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>,
}

impl TextStream<'_> {
    /// The text that this token completes, if any.
    ///
    /// # Errors
    /// The tokenizer's decoder refuses it.
    pub fn step(&mut self, id: u32) -> Result<Option<String>> {
        self.inner.step(id).map_err(|e| self.tokenizer.error("decode a token", &e))
    }
}

impl std::fmt::Debug for TextStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextStream").field("tokenizer", &self.tokenizer.path).finish_non_exhaustive()
    }
}

/// For [`super::chat`]: an object of a JSON file that must be there.
pub(super) fn object(path: &Path) -> Result<Map<String, Value>> {
    read_object(path)
}
