//! The tokenizer in a file's metadata, as the `tokenizer.json` and `tokenizer_config.json` of the same model.
//!
//! Two kinds are read: byte-level BPE (`gpt2`), whose merges are in the file and whose pre-tokenizer goes by a name, and SentencePiece's BPE
//! (`llama`), whose merges follow from the scores of its tokens. Control tokens and those that a user defined become added tokens; the first
//! are special.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::header::GgufFile;
use super::splits::{Split, split};
use crate::{Error, Result};

/// Types of tokens.
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
/// How SentencePiece writes a space.
const SPACE: &str = "\u{2581}";
/// The tokens that have names.
const NAMED: [(&str, &str); 4] =
    [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")];

/// What the files of a tokenizer hold.
#[derive(Debug)]
pub(in crate::io) struct TokenizerParts {
    /// `tokenizer.json`.
    pub json: Value,
    /// `tokenizer_config.json`: special tokens by name, `add_bos_token`, the chat template.
    pub settings: Map<String, Value>,
}

/// The vocabulary as the file has it.
struct Vocabulary<'a> {
    file: &'a GgufFile,
    tokens: &'a [String],
    types: Vec<u64>,
    /// Ids of the tokens with names.
    named: Vec<(&'static str, usize)>,
}

/// Reads the tokenizer out of the metadata.
///
/// # Errors
/// No tokenizer, or of a kind or with a pre-tokenizer that is unknown; lists of other lengths than the vocabulary; ids outside it.
pub(in crate::io) fn tokenizer(file: &GgufFile) -> Result<TokenizerParts> {
    let vocabulary = Vocabulary::read(file)?;
    let (model, mut json) = match file.text("tokenizer.ggml.model")? {
        Some("gpt2") => byte_level(&vocabulary)?,
        Some("llama") => sentence_piece(&vocabulary)?,
        other => {
            let found = other.map_or("missing".to_owned(), |name| format!("{name:?}"));
            let problem = format!(
                "key \"tokenizer.ggml.model\" is {found}; known are gpt2 (byte-level BPE) and llama (SentencePiece)"
            );
            return Err(Error::format(file.path(), problem));
        }
    };
    let add_bos = file.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(model.adds_bos);
    let add_eos = file.boolean("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
    json["added_tokens"] = vocabulary.added(&model);
    json["post_processor"] = vocabulary.post_processor(add_bos, add_eos);
    let mut settings = Map::new();
    for (name, id) in &vocabulary.named {
        settings.insert((*name).to_owned(), json!(vocabulary.tokens[*id]));
    }
    settings.insert("add_bos_token".to_owned(), json!(add_bos));
    settings.insert("add_eos_token".to_owned(), json!(add_eos));
    if let Some(template) = file.text("tokenizer.chat_template")? {
        settings.insert("chat_template".to_owned(), json!(template));
    }
    Ok(TokenizerParts { json, settings })
}

/// What follows from the kind of the tokenizer.
struct Model {
    byte_level: bool,
    /// Whether a text begins with BOS where the file does not say.
    adds_bos: bool,
    /// Gemma's files have runs of spaces as they are, where its texts have SentencePiece's.
    respells_spaces: bool,
}

impl Model {
    fn spells_plainly(&self, token: &str) -> bool {
        !self.respells_spaces || !token.contains(' ') || !token.trim().is_empty()
    }
}

impl<'a> Vocabulary<'a> {
    fn read(file: &'a GgufFile) -> Result<Vocabulary<'a>> {
        let wrong = |problem: String| Error::format(file.path(), problem);
        let tokens = file.texts("tokenizer.ggml.tokens")?.filter(|list| !list.is_empty());
        let tokens =
            tokens.ok_or_else(|| wrong("has no \"tokenizer.ggml.tokens\": it comes without a tokenizer".to_owned()))?;
        let types = match file.numbers("tokenizer.ggml.token_type")? {
            None => vec![1; tokens.len()],
            Some(types) if types.len() == tokens.len() => types.into_iter().map(|x| x as u64).collect(),
            Some(types) => {
                let problem =
                    format!("has {} tokens, but \"tokenizer.ggml.token_type\" holds {}", tokens.len(), types.len());
                return Err(wrong(problem));
            }
        };
        let mut named = Vec::new();
        for (name, key) in NAMED {
            let key = format!("tokenizer.ggml.{key}_token_id");
            let Some(id) = file.integer(&key)? else { continue };
            match (id as usize) < tokens.len() {
                true => named.push((name, id as usize)),
                false => return Err(wrong(format!("key {key:?} is {id}, but there are {} tokens", tokens.len()))),
            }
        }
        Ok(Vocabulary { file, tokens, types, named })
    }

    fn special(&self, id: usize) -> bool {
        self.types[id] == CONTROL || self.named.iter().any(|(_, other)| *other == id)
    }

    /// Control tokens and those with names, which are special, and tokens that a user defined, which are found in texts but stay in them; but
    /// for those that the model spells in another way, which it finds by merging.
    fn added(&self, model: &Model) -> Value {
        let unknown = |id: usize| !model.byte_level && self.types[id] == UNKNOWN;
        let entry = |id: usize| {
            json!({
                "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": self.special(id) || unknown(id),
            })
        };
        let is_added = |id: &usize| {
            let kind = self.special(*id) || self.types[*id] == USER_DEFINED || unknown(*id);
            kind && !self.tokens[*id].is_empty() && model.spells_plainly(&self.tokens[*id])
        };
        (0..self.tokens.len()).filter(is_added).map(entry).collect()
    }

    fn named(&self, name: &str) -> Option<usize> {
        self.named.iter().find(|(other, _)| *other == name).map(|(_, id)| *id)
    }

    /// Puts BOS before a text and EOS behind it.
    fn post_processor(&self, add_bos: bool, add_eos: bool) -> Value {
        let bos = self.named("bos_token").filter(|_| add_bos);
        let eos = self.named("eos_token").filter(|_| add_eos);
        let mut specials = Map::new();
        for id in bos.iter().chain(&eos) {
            let token = &self.tokens[*id];
            specials.insert(token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}));
        }
        let special = |id: Option<usize>, part: u8| {
            id.map(|id| json!({"SpecialToken": {"id": self.tokens[id], "type_id": part}}))
        };
        let sequence = |name: &str, part: u8| json!({"Sequence": {"id": name, "type_id": part}});
        let one = |name: &str, part: u8| -> Vec<Value> {
            special(bos, part).into_iter().chain([sequence(name, part)]).chain(special(eos, part)).collect()
        };
        let pair: Vec<Value> = one("A", 0).into_iter().chain(one("B", 1)).collect();
        json!({"type": "TemplateProcessing", "single": one("A", 0), "pair": pair, "special_tokens": specials})
    }

    /// The merges of the file, if it has any.
    fn merges(&self) -> Result<Option<Vec<(String, String)>>> {
        let Some(list) = self.file.texts("tokenizer.ggml.merges")? else { return Ok(None) };
        let pair = |merge: &String| {
            let (left, right) =
                merge.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.contains(' '))?;
            Some((left.to_owned(), right.to_owned()))
        };
        let all: Option<Vec<_>> = list.iter().map(pair).collect();
        let all = all.ok_or_else(|| {
            Error::format(
                self.file.path(),
                "a merge in \"tokenizer.ggml.merges\" is not two texts with a space between",
            )
        })?;
        Ok(Some(all))
    }
}

/// The characters that stand for the bytes 0 to 255 in byte-level vocabularies: printable ones for themselves, the others shifted.
fn byte_characters() -> [char; 256] {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut shifted = 256..;
    std::array::from_fn(|b| {
        let code = if printable(b as u32) { b as u32 } else { shifted.next().unwrap_or(0) };
        char::from_u32(code).unwrap_or('\0')
    })
}

fn byte_level(vocabulary: &Vocabulary<'_>) -> Result<(Model, Value)> {
    let file = vocabulary.file;
    let Split { pre_tokenizer, ignore_merges, adds_bos } = split(file)?;
    let characters = byte_characters();
    let alphabet: HashSet<char> = characters.into_iter().collect();
    let mut vocab = Map::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        // Added tokens are written as in a text, and some files have others so, too.
        let plain = vocabulary.special(id) || vocabulary.types[id] == USER_DEFINED;
        let spelled = match plain || token.chars().all(|c| alphabet.contains(&c)) {
            true => token.clone(),
            false => token.bytes().map(|b| characters[b as usize]).collect(),
        };
        vocab.insert(spelled, json!(id));
    }
    let Some(merges) = vocabulary.merges()? else {
        return Err(Error::format(file.path(), "has no \"tokenizer.ggml.merges\", which a gpt2 tokenizer needs"));
    };
    // An added token may need no merge, and a merge without its parts would be refused with no word about the file.
    let merges = sound(merges, &vocab, file)?;
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": pre_tokenizer,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges, "vocab": vocab, "merges": merges,
        },
    });
    Ok((Model { byte_level: true, adds_bos, respells_spaces: false }, json))
}

/// Merges whose parts and result are tokens.
fn sound(merges: Vec<(String, String)>, vocab: &Map<String, Value>, file: &GgufFile) -> Result<Vec<(String, String)>> {
    let known = |token: &str| vocab.contains_key(token);
    match merges.iter().find(|(l, r)| !known(l) || !known(r) || !known(&format!("{l}{r}"))) {
        None => Ok(merges),
        Some((left, right)) => {
            let problem = format!("merge \"{left} {right}\" has a part or a result that is no token");
            Err(Error::format(file.path(), format!("{problem}; convert the file again")))
        }
    }
}

fn sentence_piece(vocabulary: &Vocabulary<'_>) -> Result<(Model, Value)> {
    let file = vocabulary.file;
    let architecture = file.text("general.architecture")?.unwrap_or_default();
    let gemma = architecture.starts_with("gemma");
    let kind = Model { byte_level: false, adds_bos: true, respells_spaces: gemma };
    let spell = |token: &String| match kind.spells_plainly(token) {
        true => token.clone(),
        false => SPACE.repeat(token.chars().count()),
    };
    let tokens: Vec<String> = vocabulary.tokens.iter().map(spell).collect();
    let merges = match vocabulary.merges()? {
        Some(merges) => merges,
        None => derived_merges(&tokens, &scores(vocabulary, gemma)?),
    };
    let vocab: Map<String, Value> = tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let merges = sound(merges, &vocab, file)?;
    let prefix = file.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let (normalizer, pre_tokenizer, strips) = spaces(architecture, gemma, prefix);
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if strips {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    // Bytes stand in for what has no token; only without them is there an unknown token.
    let unknown = vocabulary.named("unk_token").map(|id| tokens[id].clone());
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    });
    Ok((kind, json))
}

/// How spaces are made SentencePiece's: normalizer, pre-tokenizer, and whether the one before a text is taken away again.
fn spaces(architecture: &str, gemma: bool, prefix: bool) -> (Value, Value, bool) {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let prepend = json!({"type": "Prepend", "prepend": SPACE});
    match architecture {
        _ if gemma => {
            let split =
                json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
            (replace, split, false)
        }
        "phi3" if prefix => (json!({"type": "Sequence", "normalizers": [prepend, replace]}), Value::Null, true),
        _ => {
            let scheme = if prefix { "first" } else { "never" };
            let meta = json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": false});
            (Value::Null, meta, prefix)
        }
    }
}

/// What merges are ordered by: the tokens' scores, or for Gemma their place, which its merges follow.
fn scores(vocabulary: &Vocabulary<'_>, gemma: bool) -> Result<Vec<f64>> {
    let count = vocabulary.tokens.len();
    if gemma {
        return Ok((0..count).map(|id| -(id as f64)).collect());
    }
    let wrong = |problem: String| Err(Error::format(vocabulary.file.path(), problem));
    match vocabulary.file.numbers("tokenizer.ggml.scores")? {
        Some(scores) if scores.len() != count => {
            wrong(format!("has {count} tokens, but \"tokenizer.ggml.scores\" holds {}", scores.len()))
        }
        Some(scores) if scores.iter().any(|x| x.is_nan()) => wrong("a score of a token is no number".to_owned()),
        Some(scores) => Ok(scores),
        None => {
            wrong("has neither \"tokenizer.ggml.scores\" nor merges, of which a llama tokenizer needs one".to_owned())
        }
    }
}

/// The merges that a vocabulary with scores stands for: every way to make a token of two others, the best token first; for one token, by the
/// ids of its parts; with equal scores, longer parts first.
fn derived_merges(tokens: &[String], scores: &[f64]) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        // Of a token that is there twice, the last counts.
        if ids.get(token.as_str()) != Some(&id) {
            continue;
        }
        let mut ways: Vec<(usize, usize)> = Vec::new();
        for (cut, _) in token.char_indices().skip(1) {
            if let (Some(left), Some(right)) = (ids.get(&token[..cut]), ids.get(&token[cut..])) {
                ways.push((*left, *right));
            }
        }
        ways.sort_unstable();
        merges.extend(ways.into_iter().map(|(left, right)| (scores[id], left, right)));
    }
    let length = |id: usize| tokens[id].chars().count();
    merges.sort_by(|a, b| {
        let key = |m: &(f64, usize, usize)| (length(m.1), length(m.2));
        b.0.total_cmp(&a.0).then_with(|| key(b).cmp(&key(a)))
    });
    merges.into_iter().map(|(_, left, right)| (tokens[left].clone(), tokens[right].clone())).collect()
}
