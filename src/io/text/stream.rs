//! Text from tokens that come one by one.

use super::tokenizer::Tokenizer;
use crate::Result;

/// Tokens that are decoded together with those that come: words are spaced by what stands before them.
const CONTEXT: usize = 32;

/// Turns tokens into text as they come: what [`Tokenizer::decode`] makes of all of them, as far as no further token can change it. A
/// character made of several tokens appears with its last one; bytes that turn out to be no character become replacement characters,
/// as there.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The last tokens.
    ids: Vec<u32>,
    /// How many bytes of their text were given.
    given: usize,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        TextStream { tokenizer, ids: Vec::new(), given: 0 }
    }

    /// The text that `id` completes, if it completes any.
    ///
    /// # Errors
    /// The tokenizer's decoder refuses the tokens.
    pub fn step(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        // Bytes of their own are decoded with those beside them: a further one may make another character of them all.
        let bytes = self.ids.iter().rev().take_while(|id| self.is_byte(**id)).count();
        let stable = self.tokenizer.decode(&self.ids[..self.ids.len() - bytes])?;
        let stable = stable.trim_end_matches('\u{fffd}').len();
        let piece = self.take(stable)?;
        if self.ids.len() >= 2 * CONTEXT && bytes == 0 {
            self.forget()?;
        }
        Ok(piece)
    }

    /// What further tokens might yet have changed: the end of the text.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn rest(&self) -> Result<String> {
        let text = self.tokenizer.decode(&self.ids)?;
        Ok(text.get(self.given..).unwrap_or_default().to_owned())
    }

    /// Gives [`Self::rest`], once no token follows.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn finish(&mut self) -> Result<Option<String>> {
        self.take(usize::MAX)
    }

    /// The text from what was given up to byte `end`.
    fn take(&mut self, end: usize) -> Result<Option<String>> {
        let text = self.tokenizer.decode(&self.ids)?;
        let end = end.min(text.len());
        // A decoder that tidies spaces may write less than before; what was given cannot be taken back.
        let piece = text.get(self.given..end).filter(|piece| !piece.is_empty()).map(str::to_owned);
        self.given = self.given.max(end);
        Ok(piece)
    }

    /// Lets go of the first tokens.
    fn forget(&mut self) -> Result<()> {
        let kept = self.ids.split_off(self.ids.len() - CONTEXT);
        let (all, last) = (self.tokenizer.decode(&[&self.ids[..], &kept].concat())?, self.tokenizer.decode(&kept)?);
        let hidden = all.len() - self.given.min(all.len());
        match all.ends_with(&last) || all.trim_start().ends_with(last.trim_start()) {
            true if last.len() >= hidden => {
                self.given = last.len() - hidden;
                self.ids = kept;
            }
            // What stands before changes how they are decoded: keep it.
            _ => self.ids.extend(kept),
        }
        Ok(())
    }

    /// Whether a token is one byte, as `<0x0A>` in vocabularies that fall back to bytes.
    fn is_byte(&self, id: u32) -> bool {
        let Some(token) = self.tokenizer.inner.id_to_token(id) else { return false };
        let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
    }
}
