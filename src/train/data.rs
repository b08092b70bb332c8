//! A run's data: samples joined to their embeddings.

use std::path::{Path, PathBuf};

use super::order::BatchLimit;
use super::settings::{Settings, Stage};
use super::visual::{EmbeddingFiles, NamedEmbeddings, VisualInputs};
use super::{Batch, Losses, Trainer};
use crate::device::{Device, Recorder, Tensor};
use crate::error::{Problem, Remedy};
use crate::io::{
    ChatTemplate, DecoderConfig, IdIndex, Question, QuestionOptions, Questions, SampleOptions, Samples, Tokenizer,
    first_is_conversation,
};
use crate::{Error, Result};

/// Samples and the embeddings that they name.
#[derive(Debug)]
pub struct SampleData {
    /// The samples.
    pub samples: Samples,
    /// Their embeddings.
    pub embeddings: NamedEmbeddings,
}

/// Reads stage-1 texts or stage-2 conversations, as the stage says, with the settings' embeddings.
///
/// # Errors
/// A file that is missing or malformed; ids without embeddings; a tokenizer that does not fit the model.
pub fn read_samples(settings: &Settings, data: &Path) -> Result<SampleData> {
    read(settings, data, (&settings.embeddings, settings.ids.as_deref()))
}

fn read(settings: &Settings, data: &Path, (inputs, ids): (&[PathBuf], Option<&Path>)) -> Result<SampleData> {
    let files = EmbeddingFiles {
        inputs,
        ids,
        key: settings.key.as_deref(),
        column: settings.column.as_deref(),
        id_column: settings.id_column.as_deref(),
    };
    let embeddings = files.open()?;
    let options = SampleOptions {
        visual_tokens: settings.visual_tokens,
        max_length: settings.max_length,
        skip_missing: settings.skip_missing,
        join: settings.join,
        date: settings.date,
        skip_bad: settings.skip_bad,
    };
    let form = match settings.stage {
        Stage::One => Form::Captions,
        Stage::Two => Form::Conversations,
    };
    let samples = samples(&settings.model, data, &embeddings, &options, form)?;
    Ok(SampleData { samples, embeddings })
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{id, text}`.
    Captions,
    /// `{id, image, conversations}`.
    Conversations,
}

impl Form {
    /// The form of a file's first record that has one.
    ///
    /// # Errors
    /// A file that cannot be read, is broken JSON throughout, or holds neither form.
    pub fn of(path: &Path) -> Result<Form> {
        first_is_conversation(path).map(|it_is| if it_is { Form::Conversations } else { Form::Captions })
    }
}

/// Reads records of a form with the tokenizer and the chat template of a model folder.
///
/// # Errors
/// A file that is missing or malformed; ids without embeddings; a tokenizer that does not fit the model; a sample beyond the model's
/// context.
pub fn samples(
    model: &Path,
    data: &Path,
    embeddings: &NamedEmbeddings,
    options: &SampleOptions,
    form: Form,
) -> Result<Samples> {
    let config = DecoderConfig::read(model)?;
    let tokenizer = Tokenizer::open(model)?.fitted_to(config.vocab_size)?;
    let samples = match form {
        Form::Captions => Samples::captions(data, &tokenizer, &embeddings.index, options)?,
        Form::Conversations => {
            let template = ChatTemplate::open(model, &tokenizer)?;
            let template = options.date.into_iter().fold(template, ChatTemplate::at);
            Samples::conversations(data, &tokenizer, &template, &embeddings.index, options)?
        }
    };
    let longest = samples.lengths().into_iter().max().unwrap_or(0) as usize;
    match config.max_positions.filter(|positions| longest > *positions) {
        None => Ok(samples),
        Some(positions) => {
            let problem = format!("a sample has {longest} positions, and the model's context has {positions}");
            let remedy = Remedy::LowerMaxLength { most: positions };
            Err(Error::argument("max_length", Problem::new(problem).remedy(remedy)))
        }
    }
}

/// The first records of a file as what is to be answered.
fn questions(settings: &Settings, data: &Path, index: &IdIndex, most: usize) -> Result<Vec<Question>> {
    let &Settings { join, skip_missing, skip_bad, .. } = settings;
    let options = QuestionOptions { join, skip_missing, skip_bad, most: Some(most) };
    let read = match settings.stage {
        Stage::One => Questions::captions(data, index, options)?,
        Stage::Two => Questions::read(data, index, options)?,
    };
    Ok(read.questions)
}

/// Data that is not trained on.
#[derive(Debug)]
pub(super) struct HeldOut {
    samples: Samples,
    inputs: VisualInputs,
    /// What is to be answered.
    questions: Vec<Question>,
}

impl HeldOut {
    /// What the settings name, if they do.
    pub(super) fn open(device: &Device, settings: &Settings) -> Result<Option<Self>> {
        let Some(data) = &settings.eval_data else { return Ok(None) };
        let source = match settings.eval_embeddings.is_empty() {
            true => (&settings.embeddings[..], settings.ids.as_deref()),
            false => (&settings.eval_embeddings[..], settings.eval_ids.as_deref()),
        };
        let SampleData { samples, embeddings } = read(settings, data, source)?;
        let questions = match settings.eval_generate {
            0 => Vec::new(),
            most => questions(settings, data, &embeddings.index, most)?,
        };
        let inputs = VisualInputs::of_settings(device, embeddings.rows, settings)?;
        Ok(Some(HeldOut { samples, inputs, questions }))
    }

    /// What the loss is of.
    pub(super) fn samples(&self) -> &Samples {
        &self.samples
    }

    /// What is to be answered.
    pub(super) fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// The adapter's input for a row of the embeddings, `[1, d]`, without noise.
    pub(super) fn embedding(&mut self, row: u32) -> Result<Tensor> {
        self.inputs.rows(&[row])
    }

    /// The forward pass of the batch that begins with sample `first`, without noise, and where the next one begins; `None` beyond the end.
    pub(super) fn record(
        &mut self,
        trainer: &mut Trainer,
        first: usize,
        limit: BatchLimit,
    ) -> Result<Option<(Recorder, Losses, usize)>> {
        let end = self.end_of_batch(first, limit);
        if first >= end {
            return Ok(None);
        }
        let batch = Batch::pack(&self.samples, &(first as u32..end as u32).collect::<Vec<_>>())?;
        let embeddings = self.inputs.clean(&batch)?;
        let (recorder, losses) = trainer.record_evaluation(&batch, &embeddings)?;
        Ok(Some((recorder, losses, end)))
    }

    /// Where the batch that begins with sample `first` ends; it has one sample at least.
    fn end_of_batch(&self, first: usize, limit: BatchLimit) -> usize {
        let all = self.samples.len();
        match limit {
            BatchLimit::Samples(size) => all.min(first.saturating_add(size)),
            BatchLimit::Tokens(most) => {
                let length = |i: usize| self.samples.get(i).map_or(0, |sample| sample.entries.len());
                let (mut end, mut tokens) = (first, 0);
                while end < all && (end == first || tokens + length(end) <= most) {
                    tokens += length(end);
                    end += 1;
                }
                end
            }
        }
    }
}
