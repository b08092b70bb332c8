//! Texts as the tokens that a tower takes.

use std::path::Path;

use rayon::prelude::*;

use crate::io::Tokenizer;
use crate::{Error, Result};

/// A tokenizer, and what is done before and after it.
#[derive(Debug)]
pub(super) struct TextTokens {
    tokenizer: Tokenizer,
    /// The most tokens of a text, with the marks around it.
    most: usize,
    /// The token that texts are filled up with to `most` tokens.
    pad: Option<u32>,
    /// Whether texts are stripped of white space around them, and written in lower case.
    strip: bool,
    lower_case: bool,
    prompt: String,
}

/// Texts as tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokenized {
    pub texts: Vec<Vec<u32>>,
    /// How many were cut.
    pub cut: usize,
}

/// What a model has room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Rows of its table.
    pub vocabulary: usize,
    /// The most tokens of a text.
    pub positions: usize,
    /// The token that texts are filled up with, where the tokenizer names none and texts are filled up.
    pub pad: Option<u32>,
}

/// How texts are treated, as folders of sentence-transformers say it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Treatment {
    pub max_length: Option<usize>,
    pub strip: bool,
    pub lower_case: bool,
}

impl TextTokens {
    /// The tokenizer of a folder for a tower.
    ///
    /// # Errors
    /// As [`Tokenizer::open`]; one that belongs to another model; no room for a token between its marks.
    pub fn open(folder: &Path, room: Room, treatment: Treatment, prompt: String) -> Result<TextTokens> {
        let tokenizer = Tokenizer::open(folder)?.fitted_to(room.vocabulary)?;
        let longest = treatment.max_length.or(tokenizer.longest()).unwrap_or(usize::MAX);
        let most = longest.min(room.positions);
        let marks = tokenizer.marks();
        if most <= marks {
            let problem = format!("texts have {most} tokens at most, and {marks} marks around them leave no room");
            return Err(Error::format(tokenizer.path(), problem));
        }
        let named = tokenizer.named_token("pad_token").and_then(|token| tokenizer.token_id(&token));
        let pad = room.pad.map(|pad| named.unwrap_or(pad));
        let Treatment { strip, lower_case, .. } = treatment;
        Ok(TextTokens { tokenizer, most, pad, strip, lower_case, prompt })
    }

    /// The most tokens of a text.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Rows of a text that are the prompt's, marks before it included.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn prompt_rows(&self) -> Result<usize> {
        if self.prompt.is_empty() {
            return Ok(0);
        }
        // As sentence-transformers counts them: without the mark behind.
        Ok(self.tokenizer.encode_marked(&self.treated(""), self.most)?.0.len().saturating_sub(1))
    }

    fn treated(&self, text: &str) -> String {
        let text = format!("{}{text}", self.prompt);
        let text = if self.strip { text.trim() } else { &text };
        if self.lower_case { text.to_lowercase() } else { text.to_owned() }
    }

    /// The tokens of texts, on all cores.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; a text without any token.
    pub fn encode(&self, texts: &[String]) -> Result<Tokenized> {
        let one = |text: &String| {
            let (mut tokens, cut) = self.tokenizer.encode_marked(&self.treated(text), self.most)?;
            if let Some(pad) = self.pad {
                tokens.resize(self.most, pad);
            }
            if tokens.is_empty() {
                let problem = "makes no token of an empty text; leave such texts out";
                return Err(Error::format(self.tokenizer.path(), problem));
            }
            Ok((tokens, cut))
        };
        let all = texts.par_iter().map(one).collect::<Result<Vec<_>>>()?;
        let cut = all.iter().filter(|(_, cut)| *cut).count();
        Ok(Tokenized { texts: all.into_iter().map(|(tokens, _)| tokens).collect(), cut })
    }
}
