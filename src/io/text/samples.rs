//! Samples as training reads them: one 32-bit entry per position, all in one array.

use std::collections::BTreeSet;
use std::path::Path;

use super::bad::{BadRecords, SkipBad};
use super::date::ChatDate;
use super::tokenizer::Tokenizer;
use crate::error::{Problem, Remedy};
use crate::io::records::{BadRecord, Record};
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
    /// How many bad records are left out, instead of refusing the data.
    pub skip_bad: SkipBad,
}

impl Default for SampleOptions {
    fn default() -> SampleOptions {
        SampleOptions {
            visual_tokens: 1,
            max_length: 2048,
            skip_missing: false,
            join: Join::Auto,
            date: None,
            skip_bad: SkipBad::default(),
        }
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
    skipped_bad: u64,
    leading_responses: u64,
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

    /// Bad records that were left out.
    pub fn skipped_bad(&self) -> u64 {
        self.skipped_bad
    }

    /// Conversations that began with a response, which was dropped.
    pub fn leading_responses(&self) -> u64 {
        self.leading_responses
    }

    pub(super) fn set_leading_responses(&mut self, path: &Path, count: u64) {
        self.leading_responses = count;
        warn_of_leading_responses(path, count);
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
    pub record: Record,
    pub row: Option<u32>,
    pub content: T,
}

/// What a parser makes of a record: names that its embedding may have, the first that has one counting (none at all for text
/// alone), and the rest.
pub(super) type Parsed<T> = (Vec<String>, T);

/// Reads `records` with `parse`, joins them to their embeddings, and tokenises them with `encode` on all threads. The whole file is
/// read even where it is to be refused, so that the error says how many of its records are bad.
pub(super) fn collect<T: Send + Sync>(
    mut records: Records,
    index: &IdIndex,
    options: &SampleOptions,
    parse: impl Fn(&serde_json::Map<String, serde_json::Value>) -> Result<Parsed<T>, String>,
    encode: impl Fn(&T) -> Result<Vec<u32>> + Sync,
) -> Result<Samples> {
    use rayon::prelude::*;
    check_options(options)?;
    let (mut samples, mut reading) = (Samples::default(), Reading::default());
    while !reading.ended {
        let (drafts, mut bad) = reading.block(&mut records, index, &parse)?;
        // Without an embedding nothing is left to do but to count.
        if reading.missing.count == 0 || options.skip_missing {
            let encoded: Vec<Result<Vec<u32>>> = drafts.par_iter().map(|draft| encode(&draft.content)).collect();
            for (draft, entries) in drafts.into_iter().zip(encoded) {
                match entries {
                    Ok(entries) => {
                        let id = records::id(&draft.record.object, "id").unwrap_or_default();
                        samples.push(&id, &entries, draft.row, options.max_length);
                    }
                    Err(e) => bad.push(records.bad(&draft.record, e.to_string())),
                }
            }
        }
        bad.sort_by_key(|bad| bad.index);
        bad.into_iter().for_each(|bad| reading.bad.add(bad));
    }
    let (read, missing) = (reading.read, &reading.missing);
    reading.bad.settle(records.path(), read, options.skip_bad)?;
    missing.settle(&records, read, options.skip_missing)?;
    (samples.missing, samples.skipped_bad) = (missing.count, reading.bad.count);
    if samples.is_empty() {
        let problem = match (read, reading.bad.count) {
            (0, _) => "holds no record".to_string(),
            (_, 0) => format!("none of its {read} records can be used ({} without an embedding)", missing.count),
            _ => reading.bad.words(read, "cannot be used, and none of the others has an embedding or a target"),
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

/// How far a file was read.
#[derive(Default)]
struct Reading {
    read: u64,
    ended: bool,
    missing: Missing,
    bad: BadRecords,
}

impl Reading {
    /// The next records that have an embedding or need none, and those that are bad.
    fn block<T>(
        &mut self,
        records: &mut Records,
        index: &IdIndex,
        parse: impl Fn(&serde_json::Map<String, serde_json::Value>) -> Result<Parsed<T>, String>,
    ) -> Result<(Vec<Draft<T>>, Vec<BadRecord>)> {
        let (mut drafts, mut bad) = (Vec::with_capacity(BLOCK), Vec::new());
        while drafts.len() < BLOCK {
            let Some(record) = records.next_record()? else {
                self.ended = true;
                break;
            };
            self.read += 1;
            let parsed = record.and_then(|record| match parse(&record.object) {
                Ok(parsed) => Ok((record, parsed)),
                Err(problem) => Err(records.bad(&record, problem)),
            });
            match parsed {
                Ok((record, (names, content))) => {
                    let row = self.missing.find(index, names);
                    drafts.extend(row.map(|row| Draft { record, row, content }));
                }
                Err(problem) => bad.push(problem),
            }
        }
        Ok((drafts, bad))
    }
}

/// Says once that responses before the first question were dropped.
pub(super) fn warn_of_leading_responses(path: &Path, count: u64) {
    if count > 0 {
        let what = "conversations begin with a response, which is dropped, as LLaVA's preprocessing does";
        log::warn!("{}: {count} {what}", path.display());
    }
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
    /// Those of them that have an embedding of their file's name alone, and the first such name.
    by_file_name: (u64, String),
}

impl Missing {
    /// The row of the first name that has one, `Some(None)` if there are no names; counts a record without embedding.
    pub(super) fn find(&mut self, index: &IdIndex, names: Vec<String>) -> Option<Option<u32>> {
        let row = names.iter().find_map(|name| index.row(name));
        if row.is_some() || names.is_empty() {
            return Some(row);
        }
        self.count += 1;
        if let Some(name) = names.iter().flat_map(|name| shorter(name)).find(|name| index.row(name).is_some()) {
            if self.by_file_name.0 == 0 {
                self.by_file_name.1 = name.to_string();
            }
            self.by_file_name.0 += 1;
        }
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
        let mut problem =
            format!("{} of {read} records have no embedding: {}{more}", self.count, self.first.join(", "));
        if let (count @ 1.., name) = &self.by_file_name {
            problem += &format!(
                " ({count} of them have one called as the image's file alone, such as {name:?}: give ids and images one form)"
            );
        }
        if skip {
            log::warn!("{}: {problem}; they are left out", records.path().display());
            return Ok(());
        }
        Err(Error::format(records.path(), Problem::new(problem).remedy(Remedy::SkipMissing)))
    }
}

/// A path's file name, and that without its extension.
fn shorter(name: &str) -> impl Iterator<Item = &str> {
    let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = file.rsplit_once('.').map(|(stem, _)| stem);
    std::iter::once(file).chain(stem).filter(move |short| !short.is_empty() && short.len() < name.len())
}

/// The entries of a stage-1 text: BOS, visual tokens, caption, newline, no EOS; the loss is on caption and newline.
pub(super) fn caption_entries(tokenizer: &Tokenizer, text: &str, visual_tokens: usize) -> Result<Vec<u32>> {
    let mut entries: Vec<u32> = tokenizer.bos().into_iter().collect();
    entries.extend((0..visual_tokens as u32).map(|k| VISUAL | k));
    entries.extend(tokenizer.encode(&format!("{text}\n"))?.into_iter().map(|id| id | TARGET));
    Ok(entries)
}
