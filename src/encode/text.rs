//! Encoders of texts.

use std::path::{Path, PathBuf};

use super::blocks::BlockSpace;
use super::decoder::DecoderTower;
use super::load::{Loader, busy_tokens};
use super::sentence::Step;
use super::tokens::{Room, TextTokens, Treatment};
use super::tower::TextTower;
use crate::device::{Device, Purpose, Recorder, Tensor};
pub use crate::io::encoder::Pool as Pooling;
use crate::io::encoder::{EndRule, Module, SentenceFolder, TextConfig, TextPooling, is_decoder, prefix_of};
use crate::io::{DecoderConfig, Weights};
use crate::kernels::nn::pool::{self, Kind, Spans};
use crate::kernels::nn::unit_rows;
use crate::nn::Precision;
use crate::nn::decoder::Space;
use crate::setters::setters;
use crate::{ElementType, Error, Result};

/// How a [`TextEncoder`] is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextOptions {
    /// A text that is put before each text, such as an instruction.
    pub prompt: Option<String>,
    /// The same by the name that a folder of sentence-transformers has for it (`query`); without both, the folder's default.
    pub prompt_name: Option<String>,
    /// How rows of tokens are pooled where the folder does not say it: of an encoder of BERT's kind without `modules.json`, by the mean where nobody
    /// says it; of a decoder, by the last token's row.
    pub pooling: Option<Pooling>,
    /// Whether a decoder's tokens see those behind them, too, as LLM2Vec's do.
    pub bidirectional: bool,
    /// A safetensors file with one matrix `[out, width]`, and perhaps a bias `[out]`, that a decoder's rows are multiplied by.
    pub projection: Option<PathBuf>,
    /// What it computes in: [`Precision::Mixed`] has f16 for matrices and for what products and attention read, f32 for the residual stream, sums,
    /// norms, what follows on pooling, and rows. Every device can; those with tensor cores are faster for it, the host engine slower.
    pub precision: Precision,
}

setters!(TextOptions {
    prompt: Option<String>,
    prompt_name: Option<String>,
    pooling: Option<Pooling>,
    bidirectional: bool,
    projection: Option<PathBuf>,
    precision: Precision,
});

/// Embeddings of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct TextRows {
    /// `[texts, width]`, in the order of the texts.
    pub rows: Vec<f32>,
    /// How many texts were longer than the model takes, and were cut as its tokenizer does: at the end, the mark behind them kept.
    pub cut: usize,
}

/// Embeddings of texts that lie on the device.
#[derive(Clone, Debug)]
pub struct TextTensor {
    /// `[texts, width]` in f32, in the order of the texts.
    pub rows: Tensor,
    /// As [`TextRows::cut`].
    pub cut: usize,
}

/// Work space for texts of so many tokens in all: see [`TextEncoder::record`].
#[derive(Debug)]
pub struct TextSpace {
    tokens: usize,
    body: BodySpace,
}

/// The text tower of a model folder (CLIP, SigLIP, a sentence-transformers folder of BERT's kind, or a decoder), on a device. It computes in f32,
/// where matrices that are stored as f16 or bf16 stay so on a GPU, and a decoder's anywhere, or in mixed precision ([`TextOptions::precision`]).
#[derive(Debug)]
pub struct TextEncoder {
    device: Device,
    tokens: TextTokens,
    body: Body,
    pooled: Pooled,
    steps: Vec<Step>,
    width: usize,
    /// Width of the stream, and inside the MLP.
    widths: [usize; 2],
}

#[derive(Debug)]
enum Body {
    Tower(TextTower),
    Decoder(DecoderTower),
}

/// Work space of either.
#[derive(Debug)]
enum BodySpace {
    Tower(BlockSpace),
    Decoder(Space),
}

/// What makes one row of a text's rows.
#[derive(Clone, Copy, Debug)]
enum Pooled {
    /// A row.
    End(EndRule),
    First,
    Last,
    /// All rows from a place on.
    Span(Kind, usize),
}

/// Texts of a batch, packed.
pub(super) struct Batch {
    pub ids: Vec<u32>,
    pub places: Vec<u32>,
    pub lengths: Vec<u32>,
    /// The row of each text that pooling reads, where it reads one.
    pub chosen: Option<Vec<u32>>,
    pub spans: Vec<[u32; 2]>,
}

impl TextEncoder {
    /// Reads the text tower and the tokenizer of a model folder in Hugging Face's layout; a decoder may be a GGUF file, too.
    ///
    /// # Errors
    /// No such folder; a model of another kind; a field or a module that is not known; a tensor that is missing, has another shape or is one more
    /// than the tower has; NaN or infinity among its numbers; no `tokenizer.json`, or one of another model; a prompt that the folder does not have;
    /// no memory.
    pub fn load(device: &Device, folder: &Path, options: &TextOptions) -> Result<TextEncoder> {
        let sentence = SentenceFolder::read(folder)?;
        let inside = sentence.as_ref().map_or(folder, |s| &s.transformer);
        let mut encoder = match is_decoder(inside)? {
            true => TextEncoder::of_decoder(device, (folder, inside), sentence.as_ref(), options)?,
            false => TextEncoder::of_tower(device, (folder, inside), sentence.as_ref(), options)?,
        };
        if let Some(sentence) = sentence {
            let (steps, width) = Step::load_all(device, &sentence.modules, encoder.width)?;
            encoder.steps.extend(steps);
            encoder.width = width;
        }
        Ok(encoder)
    }

    fn of_tower(
        device: &Device,
        (folder, inside): (&Path, &Path),
        sentence: Option<&SentenceFolder>,
        options: &TextOptions,
    ) -> Result<TextEncoder> {
        let config = TextConfig::read(inside)?;
        for (set, name) in [(options.bidirectional, "bidirectional"), (options.projection.is_some(), "projection")] {
            if set {
                return Err(Error::argument(name, format!("is for decoders, and {} is none", inside.display())));
            }
        }
        let pad = config.padded.then_some(config.pad);
        let room = Room { vocabulary: config.vocabulary, positions: config.positions(), pad };
        let tokens = TextTokens::open(inside, room, treatment(sentence), prompt(folder, sentence, options)?)?;
        let pooled = pooled(folder, (config.pooling, Pooling::Mean), sentence, options, &tokens)?;
        let weights = Weights::open(inside)?;
        let prefix = prefix_of(&weights, config.prefixes, config.names.tokens)?;
        let mut loader = Loader::new(device, &weights).computing_in(options.precision);
        let tower = TextTower::load(&mut loader, &config, prefix)?;
        let width = config.blocks.width;
        let projection = config.projection.map(|of| Step::projection(&mut loader, of, (prefix, width))).transpose()?;
        // What stands beside a bare tower: another tower, BERT's pooler, heads of training.
        loader.finish(prefix, |name| {
            let first = name.split('.').next().unwrap_or_default();
            !["embeddings", "encoder", "transformer", "final_layer_norm", "head"].contains(&first)
        })?;
        Ok(TextEncoder {
            device: device.clone(),
            tokens,
            body: Body::Tower(tower),
            pooled,
            steps: projection.into_iter().collect(),
            width: config.width(),
            widths: [width, config.blocks.inner],
        })
    }

    fn of_decoder(
        device: &Device,
        (folder, inside): (&Path, &Path),
        sentence: Option<&SentenceFolder>,
        options: &TextOptions,
    ) -> Result<TextEncoder> {
        let decoder = DecoderTower::open(device, inside, (options.bidirectional, options.precision))?;
        let room = Room { vocabulary: decoder.vocabulary(), positions: decoder.positions(), pad: None };
        let tokens = TextTokens::open(inside, room, treatment(sentence), prompt(folder, sentence, options)?)?;
        let pooled = pooled(folder, (TextPooling::Modules, Pooling::Last), sentence, options, &tokens)?;
        let mut width = decoder.width();
        let mut steps = Vec::new();
        if let Some(file) = &options.projection {
            let (step, out) = Step::of_file(device, file, width)?;
            steps.push(step);
            width = out;
        }
        let widths = [decoder.width(), decoder.inner()];
        Ok(TextEncoder { device: device.clone(), tokens, body: Body::Decoder(decoder), pooled, steps, width, widths })
    }

    /// The same encoder with rows divided by their norms, if its folder does not do that already.
    ///
    /// # Errors
    /// No memory.
    pub fn unit_rows(mut self) -> Result<Self> {
        if !matches!(self.steps.last(), Some(Step::Normalize(_))) {
            self.steps.push(Step::Normalize(unit_rows::weight(&self.device, self.width)?));
        }
        Ok(self)
    }

    /// Numbers of an embedding.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The device that it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The most tokens of a text, with the marks around it.
    pub fn positions(&self) -> usize {
        self.tokens.most()
    }

    /// Tokens that a batch may have: what keeps the device busy and it binds at once, at least those of the longest text.
    fn batch_tokens(&self, longest: usize) -> usize {
        let caps = self.device.capabilities();
        let busy = busy_tokens(&self.device);
        let bytes = 4 * self.widths[0].max(self.widths[1]).next_multiple_of(4);
        busy.min(usize::try_from(caps.max_binding).unwrap_or(usize::MAX) / bytes).max(longest)
    }

    /// The embeddings of texts, in order, as many batches as it takes.
    ///
    /// # Errors
    /// A text that the tokenizer refuses; no memory; the device was lost.
    pub fn encode_blocking(&self, texts: &[String]) -> Result<TextRows> {
        let tokenized = self.tokens.encode(texts)?;
        let mut rows = Vec::with_capacity(texts.len() * self.width);
        self.for_each_batch(&tokenized.texts, |recorder, _, out| {
            recorder.submit()?;
            rows.extend(out.to_f32_blocking(&self.device)?);
            Ok(())
        })?;
        Ok(TextRows { rows, cut: tokenized.cut })
    }

    /// As [`TextEncoder::encode_blocking`], without waiting: the work is submitted, and the rows, which are the caller's own, lie on the device. For
    /// kernels and submissions that come later they are there; [`Tensor::to_f32`] and [`Device::begin_read`] bring them to the host.
    ///
    /// # Errors
    /// As there.
    pub fn encode(&self, texts: &[String]) -> Result<TextTensor> {
        let tokenized = self.tokens.encode(texts)?;
        let label = (Purpose::Activations, "embeddings");
        let rows = Tensor::labelled(&self.device, label, (texts.len(), self.width), ElementType::F32)?;
        self.for_each_batch(&tokenized.texts, |mut recorder, first, out| {
            recorder.copy_rows((&out, 0), (&rows, first), out.rows())?;
            recorder.submit().map(drop)
        })?;
        Ok(TextTensor { rows, cut: tokenized.cut })
    }

    /// Records the embeddings of texts that have no more tokens in all than `space` was made for; the rows `[texts, width]` are the caller's own.
    /// Nothing waits: for apps that submit by themselves and go on, all at once or in [`Pieces`](crate::device::Pieces).
    ///
    /// # Errors
    /// No text; a text that the tokenizer refuses; more tokens than the space has room for; another encoder's space; no memory.
    pub fn record(&self, recorder: &mut Recorder, texts: &[String], space: &TextSpace) -> Result<TextTensor> {
        let tokenized = self.tokens.encode(texts)?;
        let tokens: usize = tokenized.texts.iter().map(Vec::len).sum();
        if !(1..=space.tokens).contains(&tokens) {
            let want = format!("from 1 to {} tokens in all, as the space", space.tokens);
            return Err(Error::shape("encode texts", "texts", want, format!("{tokens} of {} texts", texts.len())));
        }
        let rows = self.record_batch(recorder, &self.batch(&tokenized.texts), &space.body)?;
        Ok(TextTensor { rows, cut: tokenized.cut })
    }

    /// Records one batch after the other; `done` gets its commands, the place of its first text, and where its rows will be.
    fn for_each_batch(
        &self,
        texts: &[Vec<u32>],
        mut done: impl FnMut(Recorder, usize, Tensor) -> Result<()>,
    ) -> Result<()> {
        let lengths = || texts.iter().map(Vec::len);
        let (all, longest) = (lengths().sum::<usize>(), lengths().max().unwrap_or(1));
        let most = self.batch_tokens(longest);
        // Of about one size, so that none is left with a few tokens, for which matrices are read as for many.
        let most = most.min(all.div_ceil(all.div_ceil(most).max(1)) + longest);
        let space = TextSpace::new(self, all.clamp(1, most))?;
        let mut rest = texts;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |text: &&Vec<u32>| {
                tokens += text.len();
                tokens <= most
            };
            let (batch, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let mut recorder = self.device.recorder();
            let out = self.record_batch(&mut recorder, &self.batch(batch), &space.body)?;
            done(recorder, texts.len() - rest.len(), out)?;
            rest = later;
        }
        Ok(())
    }

    /// Texts packed one behind the other.
    fn batch(&self, texts: &[Vec<u32>]) -> Batch {
        let place = |text: &Vec<u32>| match self.pooled {
            Pooled::First => Some(0),
            Pooled::Last => Some(text.len() - 1),
            Pooled::End(rule) => Some(end(rule, text)),
            Pooled::Span(..) => None,
        };
        let skipped = if let Pooled::Span(_, skipped) = self.pooled { skipped as u32 } else { 0 };
        let mut batch = Batch {
            ids: texts.concat(),
            places: texts.iter().flat_map(|text| 0..text.len() as u32).collect(),
            lengths: texts.iter().map(|text| text.len() as u32).collect(),
            chosen: Some(Vec::new()),
            spans: Vec::new(),
        };
        let mut first = 0;
        for text in texts {
            let length = text.len() as u32;
            match (place(text), &mut batch.chosen) {
                (Some(place), Some(chosen)) => chosen.push(first + place as u32),
                _ => batch.chosen = None,
            }
            let skipped = skipped.min(length - 1);
            batch.spans.push([first + skipped, length - skipped]);
            first += length;
        }
        batch
    }

    /// Records the embeddings `[texts, width]` of a batch.
    fn record_batch(&self, recorder: &mut Recorder, batch: &Batch, space: &BodySpace) -> Result<Tensor> {
        let mut out = match (&self.body, space) {
            (Body::Tower(tower), BodySpace::Tower(space)) => tower.record(recorder, batch, space)?,
            (Body::Decoder(decoder), BodySpace::Decoder(space)) => decoder.record(recorder, batch, space)?,
            _ => return Err(Error::argument("space", "was made for another encoder")),
        };
        if let Pooled::Span(kind, _) = self.pooled {
            let (label, texts) = ((Purpose::Activations, "pooled rows"), batch.lengths.len());
            let pooled = Tensor::labelled(&self.device, label, (texts, out.width()), ElementType::F32)?;
            pool::record(recorder, kind, &out, &Spans::new(&self.device, &batch.spans)?, &pooled)?;
            out = pooled;
        }
        for step in &self.steps {
            out = step.forward(recorder, &out)?;
        }
        Ok(out)
    }
}

impl TextSpace {
    /// Room for texts of so many tokens in all, marks and padding included; a text has at most [`TextEncoder::positions`].
    ///
    /// # Errors
    /// No token; no memory; more than the device's largest binding.
    pub fn new(encoder: &TextEncoder, tokens: usize) -> Result<TextSpace> {
        if tokens == 0 {
            return Err(Error::argument("tokens", "0; a space is for one at least"));
        }
        let body = match &encoder.body {
            Body::Tower(tower) => BodySpace::Tower(tower.space(&encoder.device, tokens)?),
            Body::Decoder(decoder) => BodySpace::Decoder(decoder.space(&encoder.device, tokens)?),
        };
        Ok(TextSpace { tokens, body })
    }

    /// The tokens that it is for.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// Numbers in a row of the text tower, the sentence encoder or the decoder of a model folder or file, which is not loaded for it.
///
/// # Errors
/// No such folder; a model of another kind; a field or a module that is not known.
pub fn text_width(folder: &Path) -> Result<usize> {
    let sentence = SentenceFolder::read(folder)?;
    let dense = sentence.iter().flat_map(|s| &s.modules).rev().find_map(|module| match module {
        Module::Dense { output, .. } => Some(*output),
        _ => None,
    });
    let inside = sentence.as_ref().map_or(folder, |s| &s.transformer);
    match (dense, is_decoder(inside)?) {
        (Some(width), _) => Ok(width),
        (None, true) => Ok(DecoderConfig::read(inside)?.hidden_size),
        (None, false) => Ok(TextConfig::read(inside)?.width()),
    }
}

/// The place of the token that ends a text of CLIP's.
fn end(rule: EndRule, text: &[u32]) -> usize {
    let first_of = |id: u32| text.iter().position(|token| *token == id).unwrap_or(0);
    match rule {
        EndRule::First(id) => first_of(id),
        EndRule::Largest => first_of(text.iter().copied().max().unwrap_or(0)),
    }
}

/// What a folder of sentence-transformers does to texts before the tokenizer.
fn treatment(sentence: Option<&SentenceFolder>) -> Treatment {
    match sentence {
        Some(s) => Treatment { max_length: s.max_length, strip: true, lower_case: s.lower_case },
        None => Treatment::default(),
    }
}

/// The text that is put before each text.
fn prompt(folder: &Path, sentence: Option<&SentenceFolder>, options: &TextOptions) -> Result<String> {
    let named = options.prompt_name.as_ref().or(sentence.and_then(|s| s.default_prompt.as_ref()));
    match (&options.prompt, named) {
        (Some(_), _) if options.prompt_name.is_some() => {
            Err(Error::argument("prompt", "is given as a text and by name; give one of them"))
        }
        (Some(text), _) => Ok(text.clone()),
        (None, None) => Ok(String::new()),
        (None, Some(name)) => sentence.and_then(|s| s.prompts.get(name)).cloned().ok_or_else(|| {
            let names: Vec<&str> = sentence.iter().flat_map(|s| s.prompts.keys().map(String::as_str)).collect();
            let there = match &names[..] {
                [] => "no prompts".to_owned(),
                names => format!("the prompts {}", names.join(", ")),
            };
            Error::argument("prompt_name", format!("{name:?}; {} has {there}", folder.display()))
        }),
    }
}

/// How rows are pooled: as the tower does, as the modules say, as the options say, or by default.
fn pooled(
    folder: &Path,
    (own, default): (TextPooling, Pooling),
    sentence: Option<&SentenceFolder>,
    options: &TextOptions,
    tokens: &TextTokens,
) -> Result<Pooled> {
    let of_modules = sentence.and_then(|s| {
        s.modules.iter().find_map(|module| match module {
            Module::Pooling(pool) => Some(*pool),
            _ => None,
        })
    });
    let own = match own {
        TextPooling::End(rule) => Some(Pooled::End(rule)),
        TextPooling::Last => Some(Pooled::Last),
        TextPooling::Modules => None,
    };
    if let Some(own) = own {
        return match of_modules.or(options.pooling) {
            None => Ok(own),
            Some(_) => Err(Error::argument("pooling", format!("{} has its own way of pooling", folder.display()))),
        };
    }
    if sentence.is_some() && of_modules.is_none() {
        return Err(Error::format(folder.join("modules.json"), "lists no Pooling module"));
    }
    if let Some((pool, other)) = of_modules.zip(options.pooling).filter(|(pool, other)| pool != other) {
        let problem = format!("{other:?}; {} has {pool:?} in its modules", folder.display());
        return Err(Error::argument("pooling", problem));
    }
    let skipped = match sentence {
        Some(s) if !s.pools_prompt => tokens.prompt_rows()?,
        _ => 0,
    };
    Ok(match of_modules.or(options.pooling).unwrap_or(default) {
        Pooling::First => Pooled::First,
        Pooling::Last => Pooled::Last,
        Pooling::Mean => Pooled::Span(Kind::Mean, skipped),
        Pooling::Max => Pooled::Span(Kind::Max, skipped),
        Pooling::RootMean => Pooled::Span(Kind::RootMean, skipped),
    })
}
