//! `tokenizer.json`, through the library that its format comes from, with what Transformers makes of the files beside it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer as HuggingFace};
#[cfg(feature = "encode")]
use tokenizers::{PostProcessor, TruncationDirection};

use super::chat::IMAGE;
use super::samples::{TOKEN, VISUAL};
use super::stream::TextStream;
use super::tokenizer_files::{TokenizerFiles, named};
use crate::io::model::read_object;
use crate::{Error, Result};

/// A model's tokenizer. Nothing is fetched over the network.
#[derive(Debug)]
pub struct Tokenizer {
    pub(super) path: PathBuf,
    pub(super) inner: HuggingFace,
    settings: Map<String, Value>,
    special: HashSet<u32>,
    added: HashSet<u32>,
    ends: BTreeSet<u32>,
    bos: Option<u32>,
    /// The largest id of a token that was not added to the vocabulary.
    largest: u32,
    /// Rows of the model's embedding table.
    rows: usize,
}

/// A token and the bytes of the text that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// `None` for an image.
    pub id: Option<u32>,
    pub place: Range<usize>,
}

impl Tokenizer {
    /// Reads the tokenizer in a GGUF file, or `tokenizer.json` of a model folder and, where they are there, `tokenizer_config.json`, `special_tokens_map.json`,
    /// `config.json` and `generation_config.json`, as Transformers 5 does: special tokens are named by the map unless the settings list
    /// the added tokens; tokens that only the settings know are added; a Llama tokenizer (`tokenizer_class`) of a `llama` model gets its
    /// class's word boundaries, whatever its file says.
    ///
    /// # Errors
    /// No `tokenizer.json`, a tokenizer of a kind that is not read from GGUF files, or one that is malformed or has token ids of 2³⁰ or more; a
    /// file beside it that is no JSON object.
    pub fn open(folder: &Path) -> Result<Tokenizer> {
        Self::from_files(TokenizerFiles::read(folder)?)
    }

    /// The tokenizer of what its files hold.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn from_files(files: TokenizerFiles) -> Result<Tokenizer> {
        let TokenizerFiles { path, json, settings, ends } = files;
        let broken = |e: tokenizers::Error| Error::format(&path, format!("not a valid tokenizer: {e}"));
        let mut inner = HuggingFace::from_bytes(json).map_err(broken)?;
        // Lengths are this crate's affair.
        inner.with_truncation(None).map_err(broken)?;
        inner.with_padding(None);
        add_missing(&mut inner, &settings).map_err(broken)?;
        let all = inner.get_added_tokens_decoder();
        let added: HashSet<u32> = all.keys().copied().collect();
        let special = all.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect();
        let ids = || inner.get_vocab(true).into_values();
        let most = ids().max().unwrap_or(0);
        if most > TOKEN {
            return Err(Error::format(&path, format!("token id {most} is not below 2^30")));
        }
        let largest = ids().filter(|id| !added.contains(id)).max().unwrap_or(0);
        let rows = usize::MAX;
        let mut tokenizer = Tokenizer { path, inner, settings, special, added, ends, bos: None, largest, rows };
        tokenizer.ends.extend(tokenizer.named_token("eos_token").and_then(|token| tokenizer.token_id(&token)));
        tokenizer.bos = tokenizer.find_bos()?;
        Ok(tokenizer)
    }

    /// The token that the post-processor puts before a text. Transformers heeds no `add_bos_token` beside a `tokenizer.json`.
    fn find_bos(&self) -> Result<Option<u32>> {
        let encoding = self.inner.encode("a", true).map_err(|e| self.error("encode a text", &e))?;
        let first = encoding.get_ids().first().zip(encoding.get_special_tokens_mask().first());
        Ok(first.filter(|(_, special)| **special == 1).map(|(id, _)| *id))
    }

    pub(super) fn error(&self, action: &str, e: &tokenizers::Error) -> Error {
        Error::format(&self.path, format!("cannot {action}: {e}"))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `tokenizer_config.json`, with what `special_tokens_map.json` adds; empty without them.
    pub(in crate::io) fn settings(&self) -> &Map<String, Value> {
        &self.settings
    }

    /// A token that `tokenizer_config.json` or `special_tokens_map.json` names, such as `eos_token`.
    pub fn named_token(&self, name: &str) -> Option<String> {
        named(&self.settings, name)
    }

    /// All special tokens that have a name, such as `pad_token`, by it.
    pub(super) fn named_tokens(&self) -> Vec<(String, String)> {
        NAMES.iter().filter_map(|name| Some(((*name).to_string(), self.named_token(name)?))).collect()
    }

    /// The id of a token.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether a token is special: a mark such as the end of a turn, not text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Whether a token was added to the vocabulary: a mark that is recognised as a whole, special or not.
    pub(super) fn is_added(&self, id: u32) -> bool {
        self.added.contains(&id)
    }

    /// The tokens that end a generation: those of `generation_config.json` and `config.json`, and `eos_token`.
    pub fn ends(&self) -> &BTreeSet<u32> {
        &self.ends
    }

    /// The token that every text starts with; `None` for models without one (Qwen2).
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The same for a model whose embedding table has `vocab_size` rows. Tokens that were added to the vocabulary, such as a `[PAD]` behind
    /// the last row, may have no row: then a text that has them is refused.
    ///
    /// # Errors
    /// The vocabulary itself has a larger id: it is of another model.
    pub fn fitted_to(mut self, vocab_size: usize) -> Result<Tokenizer> {
        if (self.largest as usize) >= vocab_size {
            let problem = format!("has token id {}, but the model's vocabulary has {vocab_size}", self.largest);
            return Err(Error::format(&self.path, format!("{problem}; use the tokenizer that belongs to the model")));
        }
        self.rows = vocab_size;
        Ok(self)
    }

    /// Checks that all tokens have a row.
    fn check_rows(&self, ids: &[u32]) -> Result<()> {
        let Some(id) = ids.iter().find(|id| **id as usize >= self.rows) else { return Ok(()) };
        let name = self.inner.id_to_token(*id).unwrap_or_default();
        let problem = format!("token {name:?} has id {id}, but the model's embedding table has {} rows", self.rows);
        Err(Error::format(&self.path, format!("{problem}; leave it out of the text, or resize the model's table")))
    }

    /// The tokens of a text. Nothing is put before or after it; special tokens written out in it are recognised.
    ///
    /// # Errors
    /// The tokenizer refuses the text (one without a token for unknown words); a token that has no row in the model's table, see
    /// [`Self::fitted_to`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| self.error("encode a text", &e))?;
        self.check_rows(encoding.get_ids())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// How many marks the tokenizer puts around a text.
    #[cfg(feature = "encode")]
    pub(crate) fn marks(&self) -> usize {
        self.inner.get_post_processor().map_or(0, |marks| marks.added_tokens(false))
    }

    /// The most tokens of a text, as `tokenizer_config.json` has it.
    #[cfg(feature = "encode")]
    pub(crate) fn longest(&self) -> Option<usize> {
        let longest = self.settings.get("model_max_length").and_then(Value::as_u64);
        // Transformers writes 10^30 where there is no limit.
        longest.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..1 << 30).contains(n))
    }

    /// The tokens of a text as an encoder takes them, between the marks that the tokenizer puts around it: at most `most`, for which the text is
    /// cut and not its marks. Whether it was cut comes with them.
    ///
    /// # Errors
    /// As [`Self::encode`].
    #[cfg(feature = "encode")]
    pub(crate) fn encode_marked(&self, text: &str, most: usize) -> Result<(Vec<u32>, bool)> {
        let failed = |e: tokenizers::Error| self.error("encode a text", &e);
        let mut encoding = self.inner.encode(text, false).map_err(failed)?;
        let room = most.saturating_sub(self.marks());
        let cut = encoding.len() > room;
        if cut {
            let left = self.settings.get("truncation_side").and_then(Value::as_str) == Some("left");
            let direction = if left { TruncationDirection::Left } else { TruncationDirection::Right };
            encoding.truncate(room, 0, direction);
        }
        let marked = self.inner.post_process(encoding, None, true).map_err(failed)?;
        self.check_rows(marked.get_ids())?;
        Ok((marked.get_ids().to_vec(), cut))
    }

    /// As [`Self::encode`], with the place of each token in the text.
    pub(super) fn encode_places(&self, text: &str) -> Result<Vec<Token>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let encoding = self.inner.encode(text, false).map_err(|e| self.error("encode a text", &e))?;
        self.check_rows(encoding.get_ids())?;
        let both = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(both.map(|(id, (start, end))| Token { id: Some(*id), place: *start..*end }).collect())
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
        TextStream::new(self)
    }
}

/// The names that special tokens have.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Adds the tokens that the settings list or name and the tokenizer does not know.
fn add_missing(inner: &mut HuggingFace, settings: &Map<String, Value>) -> tokenizers::Result<()> {
    let flag = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_bool).unwrap_or(false);
    let listed = settings.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten();
    // In the order of their ids.
    let listed: BTreeMap<u64, &Value> = listed.filter_map(|(id, entry)| Some((id.parse().ok()?, entry))).collect();
    let mut missing = Vec::new();
    for entry in listed.into_values() {
        if let Some(text) = entry.get("content").and_then(Value::as_str) {
            let special = flag(entry, "special");
            let token = AddedToken::from(text, special).lstrip(flag(entry, "lstrip")).rstrip(flag(entry, "rstrip"));
            let normalized = entry.get("normalized").and_then(Value::as_bool).unwrap_or(!special);
            missing.push(token.single_word(flag(entry, "single_word")).normalized(normalized));
        }
    }
    let named_tokens = NAMES.iter().filter_map(|name| named(settings, name));
    let extra = ["additional_special_tokens", "extra_special_tokens"];
    let extra = extra.iter().filter_map(|name| settings.get(*name)).filter_map(Value::as_array).flatten();
    let extra = extra.filter_map(|value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned));
    missing.extend(named_tokens.chain(extra).map(|text| AddedToken::from(text, true)));
    for token in missing {
        if inner.token_to_id(&token.content).is_none() {
            inner.add_tokens([token])?;
        }
    }
    Ok(())
}

/// For [`super::template`]: an object of a JSON file that must be there.
pub(super) fn object(path: &Path) -> Result<Map<String, Value>> {
    read_object(path)
}
