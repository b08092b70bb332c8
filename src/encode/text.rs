//! Text towers.

use std::path::Path;

use super::blocks::{BlockSpace, Blocks, Chosen};
use super::load::{Loader, Norm};
use super::sentence::Step;
use super::tokens::{TextTokens, Treatment};
use crate::device::{Device, DeviceKind, Purpose, Recorder, Tensor};
use crate::io::Weights;
pub use crate::io::encoder::Pool as Pooling;
use crate::io::encoder::{EndRule, Module, SentenceFolder, TextConfig, TextPooling, prefix_of};
use crate::kernels::nn::add_rows;
use crate::kernels::nn::attention::{Mask, Sequence, Sequences};
use crate::kernels::nn::embedding::{self, Scales};
use crate::kernels::nn::pool::{self, Kind, Spans};
use crate::nn::ShardedMatrix;
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
    /// How rows of tokens are pooled where the folder does not say it: an encoder of BERT's kind without `modules.json`; the mean where nobody
    /// says it.
    pub pooling: Option<Pooling>,
}

setters!(TextOptions { prompt: Option<String>, prompt_name: Option<String>, pooling: Option<Pooling> });

/// Embeddings of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct TextRows {
    /// `[texts, width]`, in the order of the texts.
    pub rows: Vec<f32>,
    /// How many texts were longer than the model takes, and were cut as its tokenizer does: at the end, the mark behind them kept.
    pub cut: usize,
}

/// The text tower of a model folder (CLIP, SigLIP, or a sentence-transformers folder of BERT's kind), on a device. It computes in f32; matrices that
/// are stored as f16 or bf16 stay so on a GPU.
#[derive(Debug)]
pub struct TextEncoder {
    device: Device,
    tokens: TextTokens,
    table: ShardedMatrix,
    /// With the first kind of tokens added, where a model has kinds.
    positions: Tensor,
    norm: Option<Norm>,
    blocks: Blocks,
    last_norm: Option<Norm>,
    pooled: Pooled,
    causal: bool,
    steps: Vec<Step>,
    width: usize,
    stream_width: usize,
    inner_width: usize,
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
struct Batch {
    ids: Vec<u32>,
    places: Vec<u32>,
    lengths: Vec<u32>,
    /// The row of each text that pooling reads, where it reads one.
    chosen: Option<Vec<u32>>,
    spans: Vec<[u32; 2]>,
}

/// Tokens of a batch on the host and on other devices.
const TOKENS: [usize; 2] = [2048, 16_384];

impl TextEncoder {
    /// Reads the text tower and the tokenizer of a model folder in Hugging Face's layout.
    ///
    /// # Errors
    /// No such folder; a model of another kind; a field or a module that is not known; a tensor that is missing, has another shape or is one more
    /// than the tower has; NaN or infinity among its numbers; no `tokenizer.json`, or one of another model; a prompt that the folder does not have;
    /// no memory.
    pub fn load(device: &Device, folder: &Path, options: &TextOptions) -> Result<TextEncoder> {
        let sentence = SentenceFolder::read(folder)?;
        let inside = sentence.as_ref().map_or(folder, |s| &s.transformer);
        let config = TextConfig::read(inside)?;
        let prompt = prompt(folder, sentence.as_ref(), options)?;
        let treatment = match &sentence {
            Some(s) => Treatment { max_length: s.max_length, strip: true, lower_case: s.lower_case },
            None => Treatment::default(),
        };
        let tokens = TextTokens::open(inside, &config, treatment, prompt)?;
        let pooled = pooled(folder, (&config, sentence.as_ref()), options, &tokens)?;
        let weights = Weights::open(inside)?;
        let prefix = prefix_of(&weights, config.prefixes, config.names.tokens)?;
        let mut loader = Loader::new(device, &weights);
        let (mut encoder, modules) = (TextEncoder::build(&mut loader, &config, (prefix, tokens, pooled))?, sentence);
        // What stands beside a bare tower: another tower, BERT's pooler, heads of training.
        loader.finish(prefix, |name| {
            let first = name.split('.').next().unwrap_or_default();
            let tower = ["embeddings", "encoder", "transformer", "final_layer_norm", "head"].contains(&first);
            !tower || name.starts_with("pooler.")
        })?;
        if let Some(sentence) = modules {
            let (steps, width) = Step::load_all(device, &sentence.modules, encoder.width)?;
            encoder.steps.extend(steps);
            encoder.width = width;
        }
        Ok(encoder)
    }

    fn build(
        loader: &mut Loader<'_>,
        config: &TextConfig,
        (prefix, tokens, pooled): (&str, TextTokens, Pooled),
    ) -> Result<TextEncoder> {
        let (width, eps, names) = (config.blocks.width, config.blocks.norm_eps, config.names);
        let name = |part: &str| format!("{prefix}{part}");
        let table = loader.matrix(&name(names.tokens), &[config.vocabulary, width], width)?;
        let mut positions = loader.numbers(&name(names.positions), &[config.position_rows, width])?;
        positions.drain(..config.first_position * width);
        if config.types > 0 {
            let types = loader.numbers(&name(names.types), &[config.types, width])?;
            let first = &types[..width];
            let rows = positions.chunks_exact_mut(width);
            rows.for_each(|row| row.iter_mut().zip(first).for_each(|(x, t)| *x += t));
        }
        let norm = |loader: &mut Loader<'_>, part: Option<&str>| {
            part.map(|part| loader.norm(&name(part), width, eps)).transpose()
        };
        let projection = config.projection.map(|of| Step::projection(loader, of, (prefix, width))).transpose()?;
        Ok(TextEncoder {
            device: loader.device.clone(),
            tokens,
            table,
            positions: Tensor::from_f32(loader.device, &positions, width)?,
            norm: norm(loader, names.norm)?,
            blocks: Blocks::load(loader, &config.blocks, prefix)?,
            last_norm: norm(loader, names.last_norm)?,
            pooled,
            causal: config.causal,
            steps: projection.into_iter().collect(),
            width: config.projection.map_or(width, |of| of.width),
            stream_width: width,
            inner_width: config.blocks.inner,
        })
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

    /// Tokens that a batch may have, at least those of one text.
    fn batch_tokens(&self) -> usize {
        let caps = self.device.capabilities();
        let busy = TOKENS[usize::from(caps.kind != DeviceKind::Host)];
        let bytes = 4 * self.inner_width.max(self.stream_width).next_multiple_of(4);
        busy.min(usize::try_from(caps.max_binding).unwrap_or(usize::MAX) / bytes).max(self.tokens.most())
    }

    /// The embeddings of texts, in order, as many batches as it takes.
    ///
    /// # Errors
    /// A text that the tokenizer refuses; no memory; the device was lost.
    pub fn encode_blocking(&self, texts: &[String]) -> Result<TextRows> {
        let tokenized = self.tokens.encode(texts)?;
        let mut rows = Vec::with_capacity(texts.len() * self.width);
        let most = self.batch_tokens();
        let longest = tokenized.texts.iter().map(Vec::len).sum::<usize>().min(most).max(1);
        let space = BlockSpace::new(&self.device, &self.blocks, longest)?;
        let mut rest = &tokenized.texts[..];
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |text: &&Vec<u32>| {
                tokens += text.len();
                tokens <= most
            };
            let (batch, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let mut recorder = self.device.recorder();
            let out = self.record(&mut recorder, &self.batch(batch), &space)?;
            recorder.submit()?;
            rows.extend(out.to_f32_blocking(&self.device)?);
            rest = later;
        }
        Ok(TextRows { rows, cut: tokenized.cut })
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

    /// The chosen rows, and what each one's query sees.
    fn chosen(&self, batch: &Batch) -> Result<Option<Chosen>> {
        let Some(rows) = &batch.chosen else { return Ok(None) };
        let (mut first, mut list) = (0, Vec::with_capacity(rows.len()));
        for (i, (&row, &length)) in rows.iter().zip(&batch.lengths).enumerate() {
            let seen = if self.causal { row - first + 1 } else { length };
            list.push(Sequence { q_first: i as u32, q_count: 1, k_first: first, k_count: seen });
            first += length;
        }
        Ok(Some(Chosen {
            rows: self.device.buffer_from("rows of texts", bytemuck::cast_slice(rows))?,
            sequences: Sequences::masked(&self.device, Mask::Full, &list)?,
        }))
    }

    /// Records the embeddings `[texts, width]` of a batch.
    fn record(&self, recorder: &mut Recorder, batch: &Batch, space: &BlockSpace) -> Result<Tensor> {
        let device = &self.device;
        let words = |name, words: &[u32]| device.buffer_from(name, bytemuck::cast_slice(words));
        let (space, texts) = (space.first_rows(batch.ids.len())?, batch.lengths.len());
        let ids = words("tokens", &batch.ids)?;
        let embedded = if self.norm.is_some() { &space.normed } else { &space.stream };
        embedding::gather_shards(recorder, self.table.shards(), None, &ids, (embedded, Scales::default()))?;
        add_rows::record(recorder, &self.positions, &words("places of tokens", &batch.places)?, embedded)?;
        if let Some(norm) = &self.norm {
            norm.forward(recorder, embedded, &space.stream)?;
        }
        let mask = if self.causal { Mask::Causal } else { Mask::Full };
        let sequences = Sequences::packed_masked(device, mask, &batch.lengths)?;
        let chosen = self.chosen(batch)?;
        let few = chosen.as_ref().map(|_| BlockSpace::new(device, &self.blocks, texts)).transpose()?;
        let rows = self.blocks.forward(recorder, (&sequences, chosen.as_ref()), (&space, few.as_ref()))?;
        let mut out = match &self.last_norm {
            Some(norm) => {
                let normed = few.as_ref().map_or(&space.normed, |few| &few.normed);
                norm.forward(recorder, rows, normed)?;
                normed.clone()
            }
            None => rows.clone(),
        };
        if let Pooled::Span(kind, _) = self.pooled {
            let label = (Purpose::Activations, "pooled rows");
            let pooled = Tensor::labelled(device, label, (texts, self.stream_width), ElementType::F32)?;
            pool::record(recorder, kind, &out, &Spans::new(device, &batch.spans)?, &pooled)?;
            out = pooled;
        }
        for step in &self.steps {
            out = step.forward(recorder, &out)?;
        }
        Ok(out)
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
            let there =
                if names.is_empty() { "no prompts".to_owned() } else { format!("the prompts {}", names.join(", ")) };
            Error::argument("prompt name", format!("{name:?}; {} has {there}", folder.display()))
        }),
    }
}

/// How rows are pooled.
fn pooled(
    folder: &Path,
    (config, sentence): (&TextConfig, Option<&SentenceFolder>),
    options: &TextOptions,
    tokens: &TextTokens,
) -> Result<Pooled> {
    let own = match config.pooling {
        TextPooling::End(rule) => Some(Pooled::End(rule)),
        TextPooling::Last => Some(Pooled::Last),
        TextPooling::Modules => None,
    };
    let of_modules = sentence.and_then(|s| {
        s.modules.iter().find_map(|module| match module {
            Module::Pooling(pool) => Some(*pool),
            _ => None,
        })
    });
    let told = match (own, of_modules, options.pooling) {
        (Some(_), None, None) | (None, _, _) => of_modules.or(options.pooling).unwrap_or(Pooling::Mean),
        _ => {
            let problem = format!("{} has its own way of pooling", folder.display());
            return Err(Error::argument("pooling", problem));
        }
    };
    if of_modules.is_some_and(|pool| options.pooling.is_some_and(|other| other != pool)) {
        let problem = format!("{} has another one in its modules: {of_modules:?}", folder.display());
        return Err(Error::argument("pooling", problem));
    }
    if let Some(own) = own {
        return Ok(own);
    }
    if sentence.is_some() && of_modules.is_none() {
        return Err(Error::format(folder.join("modules.json"), "lists no Pooling module"));
    }
    let skipped = match sentence {
        Some(s) if !s.pools_prompt => tokens.prompt_rows()?,
        _ => 0,
    };
    Ok(match told {
        Pooling::First => Pooled::First,
        Pooling::Last => Pooled::Last,
        Pooling::Mean => Pooled::Span(Kind::Mean, skipped),
        Pooling::Max => Pooled::Span(Kind::Max, skipped),
        Pooling::RootMean => Pooled::Span(Kind::RootMean, skipped),
    })
}
