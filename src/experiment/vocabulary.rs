//! Words and their numbers, and the same as a Hugging Face tokenizer.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::words::Marks;

/// Tokens that are no words, in the order of their ids from 0: padding, unknown words, begin, end, answer, newline.
const SPECIAL: [&str; 6] = ["<pad>", "<unk>", "<bos>", "<eos>", "<a>", "\n"];
const UNKNOWN: u32 = 1;
/// Characters that are words by themselves.
const MARKS: &str = "\n,.?!:;";

/// A list of words. A word's id is its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    words: Vec<String>,
    ids: HashMap<String, u32>,
}

/// Words and punctuation marks of a text; the special tokens count as words.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split([' ', '\t', '\r']).filter(|w| !w.is_empty());
    words.flat_map(|word| {
        word.split_inclusive(|c| MARKS.contains(c)).flat_map(|part| {
            let cut = part.len() - part.chars().last().filter(|&c| MARKS.contains(c)).map_or(0, char::len_utf8);
            [&part[..cut], &part[cut..]].into_iter().filter(|p| !p.is_empty())
        })
    })
}

impl Vocabulary {
    /// The special tokens and `words`, which may repeat.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut vocabulary = Vocabulary { words: Vec::new(), ids: HashMap::new() };
        for word in SPECIAL.into_iter().chain(words) {
            if !vocabulary.ids.contains_key(word) {
                vocabulary.ids.insert(word.to_owned(), vocabulary.words.len() as u32);
                vocabulary.words.push(word.to_owned());
            }
        }
        vocabulary
    }

    /// Every word of these texts, in alphabetical order.
    pub fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words: Vec<&str> = texts.into_iter().flat_map(pieces).collect();
        words.sort_unstable();
        words.dedup();
        Self::new(words)
    }

    /// The words of captions and questions of digits.
    pub fn of_digits() -> Self {
        Self::new(super::words::vocabulary())
    }

    /// Number of words, special tokens included.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are none: never, for the special tokens are always there.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The ids of a text's words and punctuation marks; words that are not in the list are one and the same.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        pieces(text).map(|w| self.ids.get(w).copied().unwrap_or(UNKNOWN)).collect()
    }

    /// The marks of conversations.
    pub fn marks() -> Marks<'static> {
        Marks { bos: SPECIAL[2], eos: SPECIAL[3], answer: SPECIAL[4] }
    }

    /// `tokenizer.json` of the same splitting and the same ids.
    pub fn tokenizer_json(&self) -> Value {
        let added = SPECIAL.iter().enumerate().filter(|(_, token)| **token != "\n").map(|(id, token)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        });
        let split = |regex: &str, behavior: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": false});
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                split("[ \\t\\r]+", "Removed"), split("[\\n,.?!:;]", "Isolated"),
            ]},
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": SPECIAL[2], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"SpecialToken": {"id": SPECIAL[2], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                    {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {SPECIAL[2]: {"id": SPECIAL[2], "ids": [2], "tokens": [SPECIAL[2]]}},
            },
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": self.ids, "unk_token": SPECIAL[UNKNOWN as usize]},
        })
    }

    /// `tokenizer_config.json`, with the chat template: begin, what the human says, the answer mark, the answer, end.
    pub fn tokenizer_config_json(&self) -> Value {
        let template = "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{{ eos_token }}\
            {% else %}{{ m.content }}<a>{% endif %}{% endfor %}";
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256, "clean_up_tokenization_spaces": false,
            "bos_token": SPECIAL[2], "eos_token": SPECIAL[3], "unk_token": SPECIAL[1], "pad_token": SPECIAL[0],
            "chat_template": template,
        })
    }
}
