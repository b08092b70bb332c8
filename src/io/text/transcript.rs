//! A conversation as tokens: the one way in which training, scoring and generating read it.
//!
//! The rendered text is tokenised as a whole, but for each `<image>`, which visual tokens replace: text is whole on either side of
//! them. What the model is to say is found in that text by its place, and a token is a target if it has a part of it.

use std::ops::Range;

use super::chat::{IMAGE, Role, Turn};
use super::jinja::MARKER;
use super::samples::{TARGET, VISUAL};
use super::template::ChatTemplate;
use super::tokenizer::{Token, Tokenizer};
use crate::{Error, Result};

/// What the model is to say, in bytes of the rendered text.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    /// From where an answer would begin to the end of what was said.
    said: Range<usize>,
    /// Up to where the template goes on with this turn: in there is the mark that ends it.
    turn_end: usize,
}

/// A conversation as text, and the places of its responses.
struct Transcript {
    text: String,
    responses: Vec<Response>,
}

impl ChatTemplate {
    /// The entries of a conversation up to where the model's answer begins, an `<image>` replaced by `visual_tokens` entries [`VISUAL`],
    /// [`VISUAL`] + 1 and so on.
    ///
    /// # Errors
    /// The template refuses the conversation; the tokenizer refuses the text.
    pub fn prompt(&self, turns: &[Turn], tokenizer: &Tokenizer, visual_tokens: usize) -> Result<Vec<u32>> {
        tokenizer.encode_with_image(&self.render(turns, true)?, visual_tokens)
    }

    /// The entries of a whole conversation: as [`Self::prompt`], each response and the mark that ends it with the bit [`TARGET`].
    /// Where the template has `{% generation %}` blocks, these say what is a response.
    ///
    /// # Errors
    /// As [`Self::prompt`]; a template that leaves every response out.
    pub fn conversation(&self, turns: &[Turn], tokenizer: &Tokenizer, visual_tokens: usize) -> Result<Vec<u32>> {
        let (tokens, targets) = self.read(turns, tokenizer)?;
        let mut entries = Vec::with_capacity(tokens.len() + visual_tokens);
        for (i, token) in tokens.iter().enumerate() {
            match token.id {
                None => entries.extend((0..visual_tokens as u32).map(|k| VISUAL | k)),
                Some(id) if targets.iter().any(|target| target.contains(&i)) => entries.push(id | TARGET),
                Some(id) => entries.push(id),
            }
        }
        Ok(entries)
    }

    /// The token that ends a response: what the template writes after one, be it a special token, one that ends a generation, or else one
    /// that was added to the vocabulary. `None` if it writes none, or refuses one question and its answer with and without a system turn.
    pub fn response_end(&self, tokenizer: &Tokenizer) -> Option<u32> {
        let turn = |role, text: &str| Turn { role, text: text.to_owned() };
        let turns = [turn(Role::System, "a"), turn(Role::User, "b"), turn(Role::Assistant, "c")];
        let found = self.read(&turns[1..], tokenizer).or_else(|_| self.read(&turns, tokenizer)).ok()?;
        let last = found.1.last()?.end.checked_sub(1)?;
        found.0.get(last)?.id.filter(|id| tokenizer.is_added(*id) || tokenizer.ends().contains(id))
    }

    /// A conversation's tokens, and which of them are responses.
    fn read(&self, turns: &[Turn], tokenizer: &Tokenizer) -> Result<(Vec<Token>, Vec<Range<usize>>)> {
        let transcript = self.transcript(turns)?;
        let tokens = tokens_of(&transcript.text, tokenizer)?;
        let targets =
            transcript.responses.iter().filter_map(|response| targets(&tokens, response, tokenizer)).collect();
        Ok((tokens, targets))
    }

    fn transcript(&self, turns: &[Turn]) -> Result<Transcript> {
        let whole = self.render_blocks(turns, false)?;
        let text = whole.text;
        let responses: Vec<Response> = match self.has_blocks() {
            true => whole.blocks.into_iter().map(|said| Response { turn_end: said.end, said }).collect(),
            false => {
                let speaking = turns.iter().enumerate().filter(|(_, turn)| turn.role == Role::Assistant);
                speaking.filter_map(|(i, _)| self.response(turns, i, &text).transpose()).collect::<Result<_>>()?
            }
        };
        let spoken = turns.iter().any(|turn| turn.role == Role::Assistant);
        if spoken && responses.iter().all(|response| response.said.is_empty()) {
            let problem = "the chat template leaves the responses of a conversation out, so that none can be learnt";
            return Err(Error::format(&self.path, problem));
        }
        Ok(Transcript { text, responses })
    }

    /// The place of the response that is turn `i`; `None` if the template leaves it out.
    fn response(&self, turns: &[Turn], i: usize, text: &str) -> Result<Option<Response>> {
        // A template may refuse to be asked for an answer, or to end there, and still write the whole.
        let prompt = self.render(&turns[..i], true).ok();
        let until = match i + 1 == turns.len() {
            true => Some(text.to_owned()),
            false => self.render(&turns[..=i], false).ok(),
        };
        let content = self.content(turns, i, text, (prompt.as_deref(), until.as_deref()))?;
        let Some(content) = content else { return Ok(None) };
        let start = match &prompt {
            Some(prompt) if text.starts_with(prompt.as_str()) && prompt.len() <= content.end => prompt.len(),
            // What is asked for an answer with is not what history shows: the answer begins where they part, after the turns before.
            Some(prompt) => {
                let before = self.render(&turns[..i], false).map_or(usize::MAX, |before| before.len());
                let common = common_start(prompt, text);
                if common >= before { common.min(content.start) } else { content.start }
            }
            None => content.start,
        };
        let turn_end = until.map_or(content.end, |until| common_start(&until, text)).max(content.end);
        Ok(Some(Response { said: start..content.end, turn_end }))
    }

    /// Where the text of turn `i` stands.
    fn content(
        &self,
        turns: &[Turn],
        i: usize,
        text: &str,
        (prompt, until): (Option<&str>, Option<&str>),
    ) -> Result<Option<Range<usize>>> {
        let said = turns[i].text.trim();
        if let (Some(prompt), Some(until)) = (prompt, until)
            && text.starts_with(until)
            && let Some(part) = until.strip_prefix(prompt)
            && let Some(at) = part.find(said)
            && !said.is_empty()
        {
            let start = prompt.len() + at;
            return Ok(Some(start..start + said.len()));
        }
        // By what changes when it does.
        let mut changed = turns.to_vec();
        changed[i].text = MARKER.to_string();
        let other = self.render(&changed, false)?;
        if other == text || !other.contains(MARKER) {
            return Ok(None);
        }
        let start = common_start(&other, text).min(other.find(MARKER).unwrap_or(0));
        let tail = common_end(&other[start..], &text[start..]);
        Ok(Some(start..text.len() - tail))
    }
}

/// How many bytes two texts begin with alike, whole characters only.
fn common_start(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum()
}

/// How many bytes two texts end with alike.
fn common_end(a: &str, b: &str) -> usize {
    a.chars().rev().zip(b.chars().rev()).take_while(|(x, y)| x == y).map(|(x, _)| x.len_utf8()).sum()
}

/// The tokens of a text with their places in it; an `<image>` is one without an id.
fn tokens_of(text: &str, tokenizer: &Tokenizer) -> Result<Vec<Token>> {
    let (mut tokens, mut base) = (Vec::new(), 0);
    for (i, part) in text.split(IMAGE).enumerate() {
        if i > 0 {
            tokens.push(Token { id: None, place: base..base + IMAGE.len() });
            base += IMAGE.len();
        }
        let found = tokenizer.encode_places(part)?.into_iter();
        tokens.extend(found.map(|t| Token { id: t.id, place: t.place.start + base..t.place.end + base }));
        base += part.len();
    }
    Ok(tokens)
}

/// The tokens of a response: those that have a part of it, and on to the mark that ends its turn. Without a mark, all of the turn.
fn targets(tokens: &[Token], response: &Response, tokenizer: &Tokenizer) -> Option<Range<usize>> {
    let Response { said, turn_end } = response;
    // A token without extent, such as a lone word boundary, belongs to what follows it.
    let begins = |t: &Token| t.place.end > said.start || (t.place.is_empty() && t.place.start >= said.start);
    let first = tokens.iter().position(begins)?;
    let after = tokens.iter().position(|t| t.place.start >= said.end && !t.place.is_empty()).unwrap_or(tokens.len());
    let rest = tokens[after..].iter().take_while(|t| t.place.start < *turn_end).count();
    let tail = &tokens[after..after + rest];
    let ends = |id: &u32| tokenizer.is_special(*id) || tokenizer.ends().contains(id);
    let mark = tail.iter().position(|t| t.id.as_ref().is_some_and(ends));
    let mark = mark.or_else(|| tail.iter().position(|t| t.id.is_some_and(|id| tokenizer.is_added(id))));
    let end = after + mark.map_or(rest, |mark| mark + 1);
    (first < end).then_some(first..end)
}
