//! Answers, token by token.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::device::{Device, Pending, Tensor, yield_now};
use crate::io::{
    AdapterKind, AdapterWeights, ChatDate, ChatTemplate, Question, TOKEN, TextStream, Tokenizer, Turn, VISUAL,
};
use crate::nn::adapter::fresh;
use crate::nn::decoder::OpenDecoder;
use crate::nn::decoder::generate::{Generator, NextToken, Sampling};
use crate::nn::{Adapter, Decoder, Model};
use crate::{ElementType, Error, Result};

/// A model with its tokenizer, ready to answer.
#[derive(Debug)]
pub struct Assistant {
    device: Device,
    /// Adapter and decoder.
    pub model: Model,
    /// The decoder's tokenizer.
    pub tokenizer: Tokenizer,
    template: Result<ChatTemplate>,
    /// Tokens that end an answer.
    ends: Vec<u32>,
    visual_tokens: usize,
    /// Whether it can be asked about images.
    sees: bool,
}

/// How an answer is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerOptions {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// End at the first newline, as the plain texts of stage 1 do, which have no end mark.
    pub one_line: bool,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        AnswerOptions { sampling: Sampling::default(), max_tokens: 128, one_line: false }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model said so.
    Finished,
    /// [`AnswerOptions::max_tokens`], or the model's longest context, was reached.
    Length,
    /// The callback asked for it.
    Stopped,
}

impl End {
    /// `finished`, `length` or `stopped`.
    pub fn name(self) -> &'static str {
        match self {
            End::Finished => "finished",
            End::Length => "length",
            End::Stopped => "stopped",
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the callback got, piece by piece, without white space around it.
    pub text: String,
    /// Its tokens, the one that ended it left out.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub end: End,
}

impl Assistant {
    /// Reads a model folder or GGUF file, and an adapter. An image stands for `visual_tokens` tokens: by default as many as the adapter was trained
    /// with, see [`AdapterWeights::visual_tokens_or`].
    ///
    /// # Errors
    /// A file that is missing or malformed; an adapter for a model of another width, or one that makes more tokens; no memory.
    pub fn open(
        device: &Device,
        model: &Path,
        adapter: &Path,
        visual_tokens: impl Into<Option<usize>>,
    ) -> Result<Self> {
        Self::open_in(device, model, adapter, visual_tokens.into(), OpenDecoder::default())
    }

    /// As [`Self::open`], with more choices for the decoder.
    ///
    /// # Errors
    /// As there.
    pub fn open_in(
        device: &Device,
        model: &Path,
        adapter: &Path,
        visual_tokens: Option<usize>,
        options: OpenDecoder<'_>,
    ) -> Result<Self> {
        let decoder = Decoder::open_with(device, model, options)?;
        let weights = AdapterWeights::load(adapter)?;
        let hidden = decoder.config().hidden_size;
        weights.check_fits(weights.inputs(), hidden, adapter)?;
        let visual_tokens = weights.visual_tokens_or(visual_tokens, hidden, adapter)?;
        let adapter = Adapter::new(device, &weights)?;
        Self::of(device, model, Model { adapter, decoder }, visual_tokens)
    }

    /// Reads a model folder or GGUF file without an adapter: it is asked in text alone.
    ///
    /// # Errors
    /// A file that is missing or malformed; no memory.
    pub fn open_text(device: &Device, model: &Path, options: OpenDecoder<'_>) -> Result<Self> {
        let decoder = Decoder::open_with(device, model, options)?;
        // A model is a decoder behind an adapter; this one is never asked.
        let adapter = Adapter::new(device, &fresh(AdapterKind::Linear, 1, decoder.config().hidden_size, 0))?;
        Ok(Assistant { sees: false, ..Self::of(device, model, Model { adapter, decoder }, 1)? })
    }

    /// Asks `model`, whose tokenizer and chat template are those of the model folder or GGUF file `folder`; an image stands for `visual_tokens` tokens.
    ///
    /// # Errors
    /// A tokenizer that is missing or malformed, or does not fit the model.
    pub fn of(device: &Device, folder: &Path, model: Model, visual_tokens: usize) -> Result<Self> {
        let decoder = &model.decoder;
        let tokenizer = Tokenizer::open(folder)?.fitted_to(decoder.config().vocab_size)?;
        // Only a chat needs the template.
        let template = ChatTemplate::open(folder, &tokenizer);
        let mut ends = decoder.config().eos.clone();
        ends.extend(tokenizer.ends());
        // Base models' own end mark is not the one that a chat trains.
        ends.extend(template.as_ref().ok().and_then(|template| template.response_end(&tokenizer)));
        Ok(Assistant { device: device.clone(), model, tokenizer, template, ends, visual_tokens, sees: true })
    }

    /// The same with another date for chat templates that write one; by default it is now.
    #[must_use]
    pub fn at(mut self, date: ChatDate) -> Self {
        self.template = self.template.map(|template| template.at(date));
        self
    }

    /// The entries of a conversation up to where the answer begins; `<image>` in a turn stands for the image.
    ///
    /// # Errors
    /// The model has no chat template, or it refuses the conversation.
    pub fn chat(&self, turns: &[Turn]) -> Result<Vec<u32>> {
        let template = self.template.as_ref().map_err(|e| Error::argument("chat template", e.to_string()))?;
        template.prompt(turns, &self.tokenizer, self.visual_tokens)
    }

    /// The entries of a plain text as in stage 1: BOS, the image, the text.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn plain(&self, text: &str, image: bool) -> Result<Vec<u32>> {
        let mut entries: Vec<u32> = self.tokenizer.bos().into_iter().collect();
        entries.extend((0..if image { self.visual_tokens } else { 0 } as u32).map(|k| VISUAL | k));
        entries.extend(self.tokenizer.encode(text)?);
        Ok(entries)
    }

    /// The entries of a question; of one without turns, those of a plain text that is still to be said.
    ///
    /// # Errors
    /// As [`Self::chat`]; a prompt that leaves no room in the model's context.
    pub fn prompt(&self, question: &Question) -> Result<Vec<u32>> {
        let entries = match question.turns.is_empty() {
            true => self.plain("", question.row.is_some())?,
            false => self.chat(&question.turns)?,
        };
        self.room_after(entries.len(), 1)?;
        Ok(entries)
    }

    /// Answers `entries` (from [`Self::chat`] or [`Self::plain`]) about an embedding `[d]`, waiting for the device. `on_text` gets
    /// the text as it comes, and may stop it.
    ///
    /// # Errors
    /// As [`Self::begin`]; logits that are not numbers; the device was lost.
    pub fn answer(
        &self,
        (entries, embedding): (&[u32], Option<&[f32]>),
        options: &AnswerOptions,
        on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let embedding = embedding.map(|e| self.embedding(e)).transpose()?;
        self.say((entries, embedding.as_ref()), options, on_text)
    }

    /// As [`Self::answer`], about an embedding `[1, d]` that is on the device.
    pub(crate) fn say(
        &self,
        prompt: (&[u32], Option<&Tensor>),
        options: &AnswerOptions,
        mut on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let mut answering = self.begin_to_say(prompt, options)?;
        while answering.end.is_none() {
            let token = answering.generator.next_blocking()?;
            if let Some(text) = answering.hear(token)?
                && on_text(&text).is_break()
            {
                break;
            }
        }
        Ok(answering.into_answer())
    }

    /// Begins to answer `entries` (from [`Self::chat`] or [`Self::plain`]) about an embedding `[d]`: [`Answering::tick`] does it
    /// piece by piece, without waiting for the device.
    ///
    /// # Errors
    /// An embedding of another width or that is not finite; a prompt that leaves no room in the model's context; no memory.
    pub fn begin(
        &self,
        (entries, embedding): (&[u32], Option<&[f32]>),
        options: &AnswerOptions,
    ) -> Result<Answering<'_>> {
        let embedding = embedding.map(|e| self.embedding(e)).transpose()?;
        self.begin_to_say((entries, embedding.as_ref()), options)
    }

    /// As [`Self::begin`], about an embedding `[1, d]` in f32 that lies on the model's device, such as an encoder's row there: nothing is read back for
    /// it. Numbers that are not finite show in the logits alone.
    ///
    /// # Errors
    /// As there; an embedding that is another device's.
    pub fn begin_on(&self, (entries, embedding): (&[u32], &Tensor), options: &AnswerOptions) -> Result<Answering<'_>> {
        self.check_sees()?;
        let width = self.model.adapter.input();
        let got = (embedding.rows(), embedding.width(), embedding.element_type());
        if got != (1, width, ElementType::F32) || !embedding.buffer().belongs_to(&self.device) {
            let want = format!("[1, {width}] f32 on the model's device, as the adapter");
            return Err(Error::shape("answer", "the embedding", want, format!("[{}, {}] {}", got.0, got.1, got.2)));
        }
        self.begin_to_say((entries, Some(embedding)), options)
    }

    fn begin_to_say(
        &self,
        (entries, embedding): (&[u32], Option<&Tensor>),
        options: &AnswerOptions,
    ) -> Result<Answering<'_>> {
        let visual = embedding.map(|e| self.model.visual_tokens(&self.device, e)).transpose()?;
        // The embedding's tokens in turn; most adapters make one, so that all are copies of it.
        let t = self.model.tokens_per_embedding().max(1) as u32;
        let row = |entry: &u32| if entry & VISUAL != 0 { VISUAL | ((entry & !VISUAL) % t) } else { entry & TOKEN };
        let prompt: Vec<u32> = entries.iter().map(row).collect();
        let most = self.room_after(prompt.len(), options.max_tokens)?;
        let (decoder, how) = (&self.model.decoder, (options.sampling, most));
        Ok(Answering {
            assistant: self,
            generator: Generator::new(&self.device, decoder, &prompt, visual.as_ref(), how)?,
            stream: self.tokenizer.stream(),
            one_line: options.one_line,
            text: String::new(),
            tokens: Vec::new(),
            end: None,
        })
    }

    fn check_sees(&self) -> Result<()> {
        match self.sees {
            true => Ok(()),
            false => Err(Error::argument("embedding", "the model was opened without an adapter, which an image needs")),
        }
    }

    /// An embedding on the device.
    fn embedding(&self, embedding: &[f32]) -> Result<Tensor> {
        self.check_sees()?;
        if let Some(i) = embedding.iter().position(|x| !x.is_finite()) {
            return Err(Error::argument("embedding", format!("number {i} is {}", embedding[i])));
        }
        let width = self.model.adapter.input();
        if embedding.len() != width {
            let got = format!("width {}", embedding.len());
            return Err(Error::shape("answer", "the embedding", format!("width {width}, as the adapter"), got));
        }
        Tensor::from_f32(&self.device, embedding, width)
    }

    /// How many tokens may follow a prompt.
    fn room_after(&self, prompt: usize, wanted: usize) -> Result<usize> {
        let Some(longest) = self.model.decoder.config().max_positions else { return Ok(wanted) };
        match longest.checked_sub(prompt) {
            None | Some(0) => {
                let problem = format!("takes {prompt} positions, and the model's context has {longest}; shorten it");
                Err(Error::argument("prompt", problem))
            }
            Some(room) => Ok(room.min(wanted)),
        }
    }
}

/// An answer in the making.
#[derive(Debug)]
pub struct Answering<'a> {
    assistant: &'a Assistant,
    generator: Generator<'a>,
    stream: TextStream<'a>,
    one_line: bool,
    text: String,
    tokens: Vec<u32>,
    end: Option<End>,
}

/// What a call of [`Answering::tick`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Work was recorded or submitted.
    Submitted,
    /// The device is not done with what was submitted.
    Waiting,
    /// The next piece of the text.
    Text(String),
    /// The answer is complete.
    Done(Answer),
}

impl Answering<'_> {
    /// Does the next piece of the work and never waits for the device: for an app's own frame loop. The text, the tokens and the
    /// end are those of [`Assistant::answer`]. On the host engine a piece is computed before this returns.
    ///
    /// # Errors
    /// As [`Assistant::answer`].
    pub fn tick(&mut self) -> Result<Reply> {
        let mut heard = None;
        if self.end.is_none() {
            heard = match self.generator.tick()? {
                NextToken::Submitted => return Ok(Reply::Submitted),
                NextToken::Waiting => return Ok(Reply::Waiting),
                NextToken::Token(token) => self.hear(Some(token))?,
                NextToken::End => self.hear(None)?,
            };
        }
        Ok(match (heard, self.end) {
            (Some(text), _) => Reply::Text(text),
            (None, None) => Reply::Submitted,
            (None, Some(end)) => Reply::Done(self.said(end)),
        })
    }

    /// What was said so far; [`End::Stopped`] if that is not all.
    pub fn into_answer(self) -> Answer {
        self.said(self.end.unwrap_or(End::Stopped))
    }

    fn said(&self, end: End) -> Answer {
        Answer { text: self.text.trim().to_owned(), tokens: self.tokens.clone(), end }
    }

    /// Takes the next token, `None` if there are no more; gives the text that it completes, if any.
    fn hear(&mut self, token: Option<u32>) -> Result<Option<String>> {
        let mut piece = match token {
            None => self.ended(End::Length)?,
            Some(token) if self.assistant.ends.contains(&token) => self.ended(End::Finished)?,
            Some(token) => {
                self.tokens.push(token);
                self.stream.step(token)?.unwrap_or_default()
            }
        };
        if self.one_line && !self.text.is_empty() {
            // A newline that is a byte of its own shows before its text is certain.
            let line = format!("{piece}{}", self.stream.rest()?);
            if let Some(newline) = line.find('\n') {
                piece = line[..newline].to_owned();
                self.end = Some(End::Finished);
            }
        }
        self.text.push_str(&piece);
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }

    /// The end, and the text that waited for it.
    fn ended(&mut self, end: End) -> Result<String> {
        self.end = Some(end);
        Ok(self.stream.finish()?.unwrap_or_default())
    }
}

/// An answer in the making that holds its model itself, for one who holds both.
#[derive(Debug)]
pub(crate) struct Ask {
    answer: Pending<Answer>,
    /// Whether work was submitted since the last look.
    submitted: Arc<AtomicBool>,
}

/// What a call of [`Ask::tick`] came to.
pub(crate) enum AskState {
    Submitted,
    Waiting,
    Done(Answer),
}

impl Ask {
    /// Begins to answer `entries` about an embedding `[1, d]`: with `whole` a token each time, else a piece of a token, as [`Answering::tick`] has it.
    pub fn begin(
        assistant: &Arc<Assistant>,
        (entries, embedding): (Vec<u32>, Option<Tensor>),
        options: AnswerOptions,
        whole: bool,
    ) -> Ask {
        let (assistant, submitted) = (assistant.clone(), Arc::new(AtomicBool::new(false)));
        let seen = submitted.clone();
        let answer = Pending::new(async move {
            let mut answering = assistant.begin_to_say((&entries, embedding.as_ref()), &options)?;
            while answering.end.is_none() {
                let token = match whole {
                    true => answering.generator.next().await?,
                    false => answering.generator.next_in_pieces(&seen).await?,
                };
                answering.hear(token)?;
            }
            Ok(answering.into_answer())
        });
        Ask { answer, submitted }
    }

    /// Does the next piece, and never waits for the device.
    pub fn tick(&mut self, device: &Device) -> Result<AskState> {
        let answer = self.answer.try_take(device)?;
        let submitted = self.submitted.swap(false, Ordering::Relaxed);
        Ok(match answer {
            Some(answer) => AskState::Done(answer),
            None if submitted => AskState::Submitted,
            None => AskState::Waiting,
        })
    }
}

impl Generator<'_> {
    /// The next token by [`Self::tick`], one call at a time; `submitted` is set whenever it gave the device something to do.
    async fn next_in_pieces(&mut self, submitted: &AtomicBool) -> Result<Option<u32>> {
        loop {
            match self.tick()? {
                NextToken::Token(token) => return Ok(Some(token)),
                NextToken::End => return Ok(None),
                NextToken::Submitted => submitted.store(true, Ordering::Relaxed),
                NextToken::Waiting => {}
            }
            yield_now().await;
        }
    }
}
