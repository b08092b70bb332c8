//! Samples as training reads them: one 32-bit entry per position, all in one array.

use std::collections::BTreeSet;

use super::date::ChatDate;
use super::tokenizer::Tokenizer;
use crate::error::{Problem, Remedy};
use crate::io::{IdIndex, Ids, Records, records};
use crate::{Error, Result};

/// Marks an entry that is a visual token; its other bits count the visual tokens of the sample from 0.
pub const VISUAL: u32 = 1 << 31;
/// Marks a token that the model is trained to say; without it the token is context only.
pub const TARGET: u32 = 1 << 30;
/// The bits of an entry that are the token's id.
pub const TOKEN: u32 = TARGET - 1;

/// How many missing ids an error lists.
const LISTED: usize = 10;
/// The row of a sample without an image.
const NO_ROW: u32 = u32::MAX;
/// Records that are tokenised together.
const BLOCK: usize = 2048;

/// Which field of a record names its embedding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Join {
    /// `id` if there is an embedding of that name, else `image` (`auto`).
    #[default]
    Auto,
    /// `id`.
    Id,
    /// `image`, for sets in which several records share an image.
    Image,
}

/// What is read, and how much of it.
#[derive(Clone, Debug)]
pub struct SampleOptions {
    /// Visual tokens per image, at least 1.
    pub visual_tokens: usize,
    /// Longest sample in tokens, visual ones included; the rest is cut off.
    pub max_length: usize,
    /// Leave out records whose embedding is missing, instead of refusing the data.
    pub skip_missing: bool,
    /// What joins records to embeddings.
    pub join: Join,
    /// The date that the chat template writes, where it writes one; by default now.
    pub date: Option<ChatDate>,
}

impl Default for SampleOptions {
    fn default() -> SampleOptions {
        SampleOptions { visual_tokens: 1, max_length: 2048, skip_missing: false, join: Join::Auto, date: None }
    }
}

/// One sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample<'a> {
    /// Its positions: [`VISUAL`] entries, or token ids with or without [`TARGET`].
    pub entries: &'a [u32],
    /// The row of its embedding; `None` for text alone.
    pub row: Option<u32>,
    /// Its record's id; empty if that has none.
    pub id: &'a str,
}

/// All samples of a run: 4 bytes per token; 20 and the id per sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    entries: Vec<u32>,
    ends: Vec<u64>,
    rows: Vec<u32>,
    ids: Ids,
    cut: u64,
    without_target: u64,
    missing: u64,
}

impl Samples {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The sample at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<Sample<'_>> {
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        let entries = self.entries.get(start as usize..*self.ends.get(index)? as usize)?;
        let row = self.rows.get(index).copied().filter(|row| *row != NO_ROW);
        Some(Sample { entries, row, id: self.ids.get(index) })
    }

    /// The number of positions of each sample.
    pub fn lengths(&self) -> Vec<u32> {
        (0..self.len()).map(|i| self.get(i).map_or(0, |sample| sample.entries.len() as u32)).collect()
    }

    /// Positions of all samples together.
    pub fn tokens(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Samples that were longer than the longest allowed and lost their end.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// Records left out because nothing to be learnt was left of them after cutting.
    pub fn without_target(&self) -> u64 {
        self.without_target
    }

    /// Records left out because their embedding is missing.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Appends the sample of the record `id`: entries as [`Sample::entries`], cut to `max_length`. One in which nothing is a
    /// target is counted and left out.
    pub fn push(&mut self, id: &str, entries: &[u32], row: Option<u32>, max_length: usize) {
        let kept = &entries[..entries.len().min(max_length)];
        // The first position is predicted from nothing, so it is never learnt.
        if !kept.iter().skip(1).any(|entry| entry & (VISUAL | TARGET) == TARGET) {
            self.without_target += 1;
            return;
        }
        self.cut += u64::from(kept.len() < entries.len());
        self.entries.extend_from_slice(kept);
        self.ends.push(self.entries.len() as u64);
        self.rows.push(row.unwrap_or(NO_ROW));
        self.ids.push(id);
    }

    /// A part of the samples, such as those held out; `indices` beyond the end are ignored.
    pub fn select(&self, indices: &[usize]) -> Samples {
        let mut part = Samples::default();
        for sample in indices.iter().filter_map(|i| self.get(*i)) {
            part.push(sample.id, sample.entries, sample.row, usize::MAX);
        }
        part
    }
}

/// A record that was read but not tokenised yet.
pub(super) struct Draft<T> {
    pub line: u64,
    /// The record's id; empty if it has none.
    pub id: String,
    pub content: T,
}

/// What a parser makes of a record: names that its embedding may have, the first that has one counting (none at all for text
/// alone), and the rest.
pub(super) type Parsed<T> = (Vec<String>, T);

/// Reads `records` with `parse`, joins them to their embeddings, and tokenises them with `encode` on all threads.
pub(super) fn collect<T: Send + Sync>(
    mut records: Records,
    index: &IdIndex,
    options: &SampleOptions,
    parse: impl Fn(&serde_json::Map<String, serde_json::Value>) -> Result<Parsed<T>, String>,
    encode: impl Fn(&T) -> Result<Vec<u32>> + Sync,
) -> Result<Samples> {
    use rayon::prelude::*;
    check_options(options)?;
    let mut samples = Samples::default();
    let mut missing = Missing::default();
    let mut read = 0u64;
    loop {
        let mut block: Vec<(Draft<T>, Option<u32>)> = Vec::with_capacity(BLOCK);
        while block.len() < BLOCK {
            let Some(record) = records.next() else { break };
            let (line, object) = record?;
            read += 1;
            let (names, content) = parse(&object).map_err(|problem| records.error(line, problem))?;
            let id = records::id(&object, "id").unwrap_or_default();
            if let Some(row) = missing.find(index, names) {
                block.push((Draft { line, id, content }, row));
            }
        }
        if block.is_empty() {
            break;
        }
        if missing.count > 0 && !options.skip_missing {
            continue;
        }
        let encoded: Vec<Result<Vec<u32>>> = block.par_iter().map(|(draft, _)| encode(&draft.content)).collect();
        for ((draft, row), entries) in block.into_iter().zip(encoded) {
            let entries = entries.map_err(|e| records.error(draft.line, format!("record {:?}: {e}", draft.id)))?;
            samples.push(&draft.id, &entries, row, options.max_length);
        }
    }
    missing.settle(&records, read, options.skip_missing)?;
    samples.missing = missing.count;
    if samples.is_empty() {
        let problem = match read {
            0 => "holds no record".to_string(),
            _ => format!("none of its {read} records can be used ({} without an embedding)", missing.count),
        };
        return Err(Error::format(records.path(), format!("{problem}; there is nothing to train on")));
    }
    for (count, what) in
        [(samples.cut, "were cut to the maximum length"), (samples.without_target, "have nothing to learn")]
    {
        if count > 0 {
            log::warn!("{}: {count} of {read} samples {what}", records.path().display());
        }
    }
    Ok(samples)
}

fn check_options(options: &SampleOptions) -> Result<()> {
    if options.visual_tokens == 0 {
        return Err(Error::argument("visual tokens", "at least 1 is needed"));
    }
    if options.max_length < options.visual_tokens.saturating_add(2) {
        let problem =
            format!("{} leaves no room for text beside {} visual tokens", options.max_length, options.visual_tokens);
        return Err(Error::argument("maximum length", problem));
    }
    Ok(())
}

/// Records whose embedding is missing.
#[derive(Default)]
pub(super) struct Missing {
    first: Vec<String>,
    seen: BTreeSet<String>,
    pub(super) count: u64,
}

impl Missing {
    /// The row of the first name that has one, `Some(None)` if there are no names; counts a record without embedding.
    pub(super) fn find(&mut self, index: &IdIndex, names: Vec<String>) -> Option<Option<u32>> {
        let row = names.iter().find_map(|name| index.row(name));
        if row.is_some() || names.is_empty() {
            return Some(row);
        }
        self.count += 1;
        let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        let id = quoted.join(" or ");
        if self.first.len() < LISTED && self.seen.insert(id.clone()) {
            self.first.push(id);
        }
        None
    }

    pub(super) fn settle(&self, records: &Records, read: u64, skip: bool) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let more = if self.count > self.first.len() as u64 { " …" } else { "" };
        let problem = format!("{} of {read} records have no embedding: {}{more}", self.count, self.first.join(", "));
        if skip {
            log::warn!("{}: {problem}; they are left out", records.path().display());
            return Ok(());
        }
        Err(Error::format(records.path(), Problem::new(problem).remedy(Remedy::SkipMissing)))
    }
}

/// The entries of a stage-1 text: BOS, visual tokens, caption, newline, no EOS; the loss is on caption and newline.
pub(super) fn caption_entries(tokenizer: &Tokenizer, text: &str, visual_tokens: usize) -> Result<Vec<u32>> {
    let mut entries: Vec<u32> = tokenizer.bos().into_iter().collect();
    entries.extend((0..visual_tokens as u32).map(|k| VISUAL | k));
    entries.extend(tokenizer.encode(&format!("{text}\n"))?.into_iter().map(|id| id | TARGET));
    Ok(entries)
}
