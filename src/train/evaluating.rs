//! An evaluation between two steps, in pieces: the loss of the held-out data, then answers about it.

use std::sync::Arc;

use super::LogRecord;
use super::data::HeldOut;
use super::model::Losses;
use super::run::Run;
use super::settings::{EvalMetric, Settings, Stage};
use super::step::{Pace, Phase, Sum, Tick, sum};
use crate::answers::{AnswerOptions, Ask, AskState, Assistant, Marks};
use crate::device::{Device, Pending, Pieces};
use crate::io::Question;
use crate::nn::Model;
use crate::{Error, Result};

/// The loss of the held-out data so far.
pub(super) struct Evaluation {
    record: LogRecord,
    /// Of the step, for the log.
    step: Sum,
    /// Of the batches that were read.
    total: Sum,
    /// The sample that the next batch begins with.
    next: usize,
    pieces: Pieces,
    losses: Option<Losses>,
    reading: Option<Pending<Sum>>,
}

impl Evaluation {
    /// After the step of `record`.
    pub(super) fn begin(record: LogRecord, step: Sum) -> Box<Self> {
        let (pieces, total) = (Pieces::default(), (0.0, 0));
        Box::new(Evaluation { record, step, total, next: 0, pieces, losses: None, reading: None })
    }
}

/// The answers so far.
pub(super) struct Asking {
    record: LogRecord,
    step: Sum,
    marks: Vec<Marks>,
    ask: Option<Ask>,
}

/// What is asked about the held-out data, and who is asked: the very model that trains.
#[derive(Debug)]
pub(super) struct Asker {
    assistant: Arc<Assistant>,
    questions: Vec<(Question, Vec<u32>)>,
    options: AnswerOptions,
}

impl Asker {
    /// `None` where nothing is to be asked. Prompts that the model cannot take are found here, not hours later.
    pub(super) fn new(device: &Device, settings: &Settings, held_out: &HeldOut, model: &Model) -> Result<Option<Self>> {
        if held_out.questions().is_empty() {
            return Ok(None);
        }
        let assistant = Assistant::of(device, &settings.model, model.clone(), settings.visual_tokens)?;
        let assistant = settings.date.into_iter().fold(assistant, Assistant::at);
        let with_prompt = |question: &Question| Ok((question.clone(), assistant.prompt(question)?));
        let questions = held_out.questions().iter().map(with_prompt).collect::<Result<_>>()?;
        let one_line = settings.stage == Stage::One;
        let options = AnswerOptions { max_tokens: settings.eval_max_tokens, one_line, ..Default::default() };
        Ok(Some(Asker { assistant: Arc::new(assistant), questions, options }))
    }
}

impl Run {
    pub(super) fn go_on_evaluating(&mut self, mut e: Box<Evaluation>, pace: Pace) -> Result<Tick> {
        if let Some(reading) = &mut e.reading {
            let Some((sum, targets)) = reading.try_take(&self.device)? else {
                return self.wait_in(Phase::Evaluating(e));
            };
            e.total = (e.total.0 + sum, e.total.1 + targets);
            e.reading = None;
        }
        if let Some(tick) = pace.submit(&mut e.pieces)? {
            self.phase = Phase::Evaluating(e);
            return Ok(tick);
        }
        if let Some(losses) = e.losses.take() {
            let device = self.device.clone();
            e.reading = Some(Pending::new(async move { sum(&device, &losses).await }));
            return self.go_on_in(Phase::Evaluating(e));
        }
        let Some(held_out) = &mut self.held_out else { return self.close(e.record, e.step) };
        let limit = self.settings.batch_limit();
        if let Some((recorder, losses, end)) = held_out.record(&mut self.trainer, e.next, limit)? {
            e.pieces.push(recorder, pace.piece());
            e.losses = Some(losses);
            e.next = end;
            return self.go_on_in(Phase::Evaluating(e));
        }
        let loss = e.total.0 / e.total.1 as f64;
        e.record.more.push((EvalMetric::Loss.key(), loss));
        if !loss.is_finite() {
            // The log has null for it, which is easily missed.
            log::warn!(
                "step {}: the held-out data's loss is {loss}; check its embeddings and the weights",
                e.record.step
            );
        }
        match self.asker {
            Some(_) => {
                let asking = Asking { record: e.record, step: e.step, marks: Vec::new(), ask: None };
                self.go_on_in(Phase::Asking(Box::new(asking)))
            }
            None => self.conclude(e.record, e.step),
        }
    }

    pub(super) fn go_on_asking(&mut self, mut a: Box<Asking>, pace: Pace) -> Result<Tick> {
        let (Some(asker), Some(held_out)) = (&self.asker, &mut self.held_out) else {
            return self.conclude(a.record, a.step);
        };
        let place = a.marks.len();
        match (&mut a.ask, asker.questions.get(place)) {
            (Some(ask), Some((question, _))) => {
                let said = match ask.tick(&self.device) {
                    Ok(AskState::Submitted) => return self.go_on_in(Phase::Asking(a)),
                    Ok(AskState::Waiting) => return self.wait_in(Phase::Asking(a)),
                    Ok(AskState::Done(answer)) => answer.text,
                    // The model's own failure, such as logits that are not numbers, is no reason to end its training.
                    Err(e @ Error::Argument { .. }) => {
                        let (step, id) = (a.record.step, &question.id);
                        log::warn!(
                            "step {step}: no answer about the held-out record {id:?}, which counts as a wrong one: {e}"
                        );
                        String::new()
                    }
                    Err(e) => return Err(e),
                };
                a.marks.push(Marks::of(&said, &question.answers));
                a.ask = None;
                self.go_on_in(Phase::Asking(a))
            }
            (None, Some((question, entries))) => {
                let embedding = question.row.map(|row| held_out.embedding(row)).transpose()?;
                let prompt = (entries.clone(), embedding);
                a.ask = Some(Ask::begin(&asker.assistant, prompt, asker.options, pace == Pace::Whole));
                self.go_on_in(Phase::Asking(a))
            }
            (_, None) => {
                let names = [EvalMetric::ExactMatch, EvalMetric::LenientMatch, EvalMetric::F1];
                a.record.more.extend(names.map(EvalMetric::key).into_iter().zip(Marks::means(&a.marks)));
                self.conclude(a.record, a.step)
            }
        }
    }

    /// All numbers of an evaluation are known.
    fn conclude(&mut self, record: LogRecord, step: Sum) -> Result<Tick> {
        let key = self.settings.eval_metric.key();
        let value = record.more.iter().find(|(name, _)| *name == key).map_or(f64::NAN, |(_, value)| *value);
        self.tell_evaluation(record.step, value);
        let better = self.evaluations.observe(&self.settings, record.step, value);
        if !(better && self.settings.keep_best) {
            return self.close(record, step);
        }
        let writing = self.keep_best(&record);
        self.go_on_in(Phase::Keeping(record, step, writing))
    }
}
