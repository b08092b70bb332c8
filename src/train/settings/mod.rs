//! The settings of a run: keys of `run.toml`, or set one by one under the same names, with the published recipe as defaults (paper, section 5).

mod check;
mod evaluation;
mod field;
mod kinds;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use field::Field;
pub use kinds::{EvalMetric, Key, KeyKind, NoiseShape, Reduce, Stage, Trained};

use super::Trains;
use super::order::BatchLimit;
use super::schedule::ScheduleKind;
use crate::align::Method;
use crate::io::{AdapterKind, ChatDate, Join, SkipBad, plain};
use crate::nn::Precision;
use crate::optim::MomentType;
use crate::{ElementType, Error, Result};

/// Declares the settings once: field, type, name, default, whether the result depends on it.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = |$stage:ident| $default:expr, $essential:literal;)+) => {
        /// Everything that a run can be told. See [`Settings::new`] for the defaults.
        #[derive(Clone, PartialEq, Debug)]
        #[non_exhaustive]
        pub struct Settings {
            /// Which training it is.
            pub stage: Stage,
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Settings {
            /// The names of all settings.
            pub const KEYS: &[Key] = &[$(Key {
                name: stringify!($name),
                help: concat!($($doc),+).trim_ascii(),
                kind: <$type as Field>::KIND,
            },)+];

            /// The published recipe for a stage. Files are not named yet.
            pub fn new(stage: Stage) -> Settings {
                Settings { stage, $($name: { let $stage = stage; let _ = $stage; $default },)+ }
            }

            $(
                #[doc = concat!("The same with the setting `", stringify!($name), "`.")]
                #[must_use]
                pub fn $name(self, $name: $type) -> Settings {
                    Settings { $name, ..self }
                }
            )+

            fn assign(&mut self, key: &str, value: &toml::Value) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($name) => Some(Field::from_value(value).map(|value| self.$name = value)),)+
                    _ => None,
                }
            }

            fn assign_text(&mut self, key: &str, text: &str) -> Option<Result<(), String>> {
                match key {
                    $(stringify!($name) => Some(Field::from_text(text).map(|value| self.$name = value)),)+
                    _ => None,
                }
            }

            fn values(&self) -> Vec<(&'static str, bool, Option<toml::Value>)> {
                vec![$((stringify!($name), $essential, Field::to_value(&self.$name)),)+]
            }
        }
    };
}

settings! {
    /// The language model's folder, in Hugging Face's layout.
    model: PathBuf = |_s| PathBuf::new(), true;
    /// Texts (stage 1) or conversations (stage 2): .jsonl, or .json with one array.
    data: PathBuf = |_s| PathBuf::new(), true;
    /// Files, folders or patterns of embeddings: of the texts in stage 1, of the images in stage 2.
    embeddings: Vec<PathBuf> = |_s| Vec::new(), true;
    /// The list of the embeddings' ids, for npy and safetensors files.
    ids: Option<PathBuf> = |_s| None, true;
    /// The embeddings' tensor in safetensors files.
    key: Option<String> = |_s| None, true;
    /// The embeddings' column in parquet files.
    column: Option<String> = |_s| None, true;
    /// The column of ids in parquet files.
    id_column: Option<String> = |_s| None, true;
    /// An image encoder that embeds the pictures which the data names, instead of embeddings (stage 2): a folder of CLIP or SigLIP.
    vision_model: Option<PathBuf> = |_s| None, true;
    /// The folder that the pictures' names are relative to; by default that of the data.
    images_root: Option<PathBuf> = |_s| None, true;
    /// An encoder that embeds the data's texts, instead of embeddings (stage 1): a folder of CLIP, SigLIP, sentence-transformers or a decoder.
    text_model: Option<PathBuf> = |_s| None, true;
    /// Where embeddings that are computed are kept, each once; by default the command line's cache, or of the library a folder in the run's.
    cache: Option<PathBuf> = |_s| None, false;
    /// Take embeddings of another encoder than the one that the statistics were fitted with.
    any_encoder: bool = |_s| false, false;
    /// What names a record's embedding: id, image, or auto (id if there is an embedding of that name, else image).
    join: Join = |_s| Join::Auto, true;
    /// Leave out records without an embedding.
    skip_missing: bool = |_s| false, true;
    /// The date that a chat template writes, where it writes one, as 2026-01-31; by default that of the run's first day.
    date: Option<ChatDate> = |_s| None, true;
    /// Leave out so many bad records, or all: those with an empty text, an unknown role, misplaced marks and the like.
    skip_bad: SkipBad = |_s| SkipBad::default(), true;
    /// Statistics of texts and images, for stage 1.
    stats: Option<PathBuf> = |_s| None, true;
    /// The aligner of stage 1; by default the one that the statistics were fitted for.
    aligner: Option<Method> = |_s| None, true;
    /// Where to start the adapter from; without it, stage 1 starts from seeded random numbers.
    init_adapter: Option<PathBuf> = |_s| None, true;
    /// The run's folder: checkpoints, log, results.
    out: PathBuf = |_s| PathBuf::new(), false;
    /// The adapter: linear or mlpNx_gelu.
    adapter: AdapterKind = |_s| AdapterKind::Mlp(2), true;
    /// Different visual tokens that a fresh adapter makes of an embedding.
    adapter_tokens: usize = |_s| 1, true;
    /// Visual tokens per image: the adapter's, in turn.
    visual_tokens: usize = |_s| 1, true;
    /// Longest sample in tokens.
    max_length: usize = |_s| 2048, true;
    /// Passes over the data.
    epochs: f64 = |_s| 1.0, true;
    /// Optimiser steps, instead of epochs.
    max_steps: Option<u64> = |_s| None, true;
    /// Samples per batch.
    batch_size: usize = |stage| if stage == Stage::One { 8 } else { 16 }, true;
    /// Tokens per batch at the most, visual ones included, instead of batch_size samples.
    batch_tokens: Option<usize> = |_s| None, true;
    /// Batches per optimiser step and rank.
    accumulate: usize = |stage| if stage == Stage::One { 4 } else { 2 }, true;
    /// Ranks that accumulate counts for; by default those that the run is started on. A run's result depends on accumulate times this alone.
    ranks: Option<usize> = |_s| None, false;
    /// How ranks send each other gradients: f32, which gives the bits of one rank, or bf16, which takes half of the bytes.
    reduce: Reduce = |_s| Reduce::F32, true;
    /// Batches whose samples are sorted by length together.
    window: usize = |_s| 32, true;
    /// The highest learning rate.
    lr: f64 = |stage| if stage == Stage::One { 5e-4 } else { 1e-5 }, true;
    /// The adapter's highest learning rate, where it is another.
    projector_lr: Option<f64> = |_s| None, true;
    /// What follows the warm-up: cosine, linear or constant.
    schedule: ScheduleKind = |_s| ScheduleKind::Cosine, true;
    /// The part of the steps in which the learning rate rises.
    warmup_ratio: f64 = |_s| 0.03, true;
    /// The optimiser: adamw, or adamw8bit, which keeps its moments in 8 bits.
    optimizer: MomentType = |_s| MomentType::F32, true;
    /// How a decoder that trains keeps its matrices: f32, or bf16, rounded stochastically at each step.
    master_weights: ElementType = |_s| ElementType::F32, true;
    /// AdamW's decoupled weight decay.
    weight_decay: f64 = |_s| 0.0, true;
    /// Biases and the weights of norms do not decay, as Transformers' Trainer has it.
    decay_matrices_only: bool = |_s| false, true;
    /// AdamW's first decay rate.
    beta1: f64 = |_s| 0.9, true;
    /// AdamW's second decay rate.
    beta2: f64 = |_s| 0.999, true;
    /// AdamW's ε.
    eps: f64 = |_s| 1e-8, true;
    /// Largest norm of the gradient; 0 leaves it as it is.
    clip: f64 = |_s| 1.0, true;
    /// What the data's order, the initial adapter and the noise depend on.
    seed: u64 = |_s| 0, true;
    /// Standard deviation of the noise on the adapter's input.
    noise: f64 = |_s| 0.0, true;
    /// The noise's covariance: isotropic or covariance (that of the image embeddings).
    noise_shape: NoiseShape = |_s| NoiseShape::Isotropic, true;
    /// Image embeddings that the noise takes its covariance from.
    noise_images: Vec<PathBuf> = |_s| Vec::new(), true;
    /// What learns: adapter, all or lora.
    train: Trained = |stage| if stage == Stage::One { Trained::Adapter } else { Trained::All }, true;
    /// Rank of the low-rank additions.
    lora_rank: usize = |_s| 16, true;
    /// Their scale is this divided by the rank.
    lora_alpha: f64 = |_s| 32.0, true;
    /// The linear layers that get them, as PEFT's target_modules: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj (Phi-3: qkv_proj
    /// and gate_up_proj); by default all-linear.
    lora_targets: Vec<String> = |_s| Vec::new(), true;
    /// How likely an element of their input is left out while they train; by default that of init_lora, else 0.
    lora_dropout: Option<f64> = |_s| None, true;
    /// Low-rank additions to go on from: a folder in PEFT's layout, which brings its rank and alpha.
    init_lora: Option<PathBuf> = |_s| None, true;
    /// Also write the decoder with its low-rank additions merged into it, beside the additions.
    merge_lora: bool = |_s| false, false;
    /// The type of the frozen decoder's weights: f32, f16, bf16, or q8_0 (blocks of 8 bits); by default that of the files.
    weights: Option<ElementType> = |_s| None, true;
    /// What the decoder computes in: f32, or mixed (f16 products and activations, f32 sums and masters); by default mixed for an adapter where
    /// tensor cores are found to compute right, else f32.
    precision: Option<Precision> = |_s| None, true;
    /// Keep only each layer's input and compute the rest again in the backward pass: less memory, more time.
    recompute: bool = |_s| false, true;
    /// The type of the decoder that is written at the end: f32, f16 or bf16; by default that of most of the model's files.
    export_dtype: Option<ElementType> = |_s| None, false;
    /// Optimiser steps per log line.
    log_every: u64 = |_s| 1, false;
    /// Optimiser steps per checkpoint; 0 saves at the end only.
    checkpoint_every: u64 = |_s| 500, false;
    /// MiB of the host's memory for a checkpoint that is written while the run goes on; with 0 the run waits until it is written.
    checkpoint_memory: u64 = |_s| 1024, false;
    /// Checkpoints that stay.
    keep: usize = |_s| 2, false;
    /// Held-out data.
    eval_data: Option<PathBuf> = |_s| None, false;
    /// The held-out data's embeddings, if not among `embeddings`.
    eval_embeddings: Vec<PathBuf> = |_s| Vec::new(), false;
    /// The list of the held-out embeddings' ids.
    eval_ids: Option<PathBuf> = |_s| None, false;
    /// Optimiser steps per evaluation; 0 evaluates at the end only.
    eval_every: u64 = |_s| 0, false;
    /// Held-out records, from the first on, that each evaluation also has answered, always by the most likely token.
    eval_generate: usize = |_s| 0, false;
    /// Most tokens of such an answer.
    eval_max_tokens: usize = |_s| 128, false;
    /// What evaluations are judged by: loss, exact_match, lenient_match or f1.
    eval_metric: EvalMetric = |_s| EvalMetric::Loss, false;
    /// Write what the best evaluation so far saw into the folder best.
    keep_best: bool = |_s| false, false;
    /// End after so many evaluations in a row without an improvement; 0 never does.
    patience: u64 = |_s| 0, false;
    /// An improvement that counts for the patience is larger than this.
    min_delta: f64 = |_s| 0.0, false;
    /// Also write the log as TensorBoard's event files.
    tensorboard: bool = |_s| false, false;
}

impl Settings {
    /// Takes over what a TOML file says. Paths in it are relative to the current folder.
    ///
    /// # Errors
    /// No such file, no UTF-8, not valid TOML (with the line), an unknown key (with the nearest known one), a value of the wrong type.
    pub fn read(&mut self, path: &Path) -> Result<()> {
        self.merge(&plain::read_text(path)?, path)
    }

    /// Takes over the text of a TOML file; `path` is its name for errors.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn merge(&mut self, text: &str, path: &Path) -> Result<()> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let start = e.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(start).filter(|b| *b == b'\n').count();
            Error::format(path, format!("line {line}: not valid TOML: {}", e.message()))
        })?;
        for (key, value) in &table {
            let done = self.assign(&key.replace('-', "_"), value);
            let done = done.unwrap_or_else(|| Err(unknown(key)));
            done.map_err(|problem| Error::format(path, format!("key {key:?}: {problem}")))?;
        }
        Ok(())
    }

    /// Sets one setting from plain text; lists are separated by commas.
    ///
    /// # Errors
    /// An unknown key (with the nearest known one), or a text that is no value for it.
    pub fn set(&mut self, key: &str, text: &str) -> Result<()> {
        let done = self.assign_text(&key.replace('-', "_"), text);
        let done = done.unwrap_or_else(|| Err(unknown(key)));
        done.map_err(|problem| Error::argument("setting", format!("{key}: {problem}")))
    }

    /// Sets one setting from plain texts: several for a list, none for a switch that is turned on.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set_all(&mut self, key: &str, values: &[String]) -> Result<()> {
        match values {
            [] => self.set(key, "true"),
            [one] => self.set(key, one),
            many => {
                let list = toml::Value::Array(many.iter().cloned().map(toml::Value::String).collect());
                let done = self.assign(&key.replace('-', "_"), &list).unwrap_or_else(|| Err(unknown(key)));
                done.map_err(|problem| Error::argument("setting", format!("{key}: {problem}")))
            }
        }
    }

    /// All settings as a TOML file that [`Settings::merge`] reads back; those without a value are left out.
    pub fn to_toml(&self) -> String {
        let set = self.values().into_iter().filter_map(|(key, _, value)| Some(format!("{key} = {}\n", value?)));
        set.collect()
    }

    /// What ranks of a run must have been told alike: all but where files lie. Whether there is something to evaluate is part of it, since all
    /// wait for rank 0's evaluations.
    pub(super) fn told(&self) -> BTreeMap<String, String> {
        let own = |key: &str| {
            PLACES.contains(&key) || ["cache", "eval_data", "eval_embeddings", "eval_ids", "out"].contains(&key)
        };
        let told = self.values().into_iter().filter(|(key, ..)| !own(key));
        let text = |(key, _, value): (&str, bool, Option<toml::Value>)| {
            (key.to_string(), value.map(|v| v.to_string()).unwrap_or_default())
        };
        let evaluates = if self.eval_data.is_some() { "set" } else { "" };
        told.map(text).chain([("eval_data".to_owned(), evaluates.to_owned())]).collect()
    }

    /// The settings that the result depends on, as text: what a resumed run must agree in with its checkpoint.
    pub fn essence(&self) -> BTreeMap<String, String> {
        let stage = match self.stage {
            Stage::One => "1",
            Stage::Two => "2",
        };
        let essential = self.values().into_iter().filter(|(_, essential, _)| *essential);
        let mut all: BTreeMap<String, String> = essential
            .map(|(key, _, value)| (key.to_string(), value.map(|v| v.to_string()).unwrap_or_default()))
            .collect();
        all.insert("stage".to_string(), stage.to_string());
        // However many ranks share them.
        all.insert("accumulate".to_string(), self.step_batches().to_string());
        if self.precision == Some(Precision::F32) {
            // As runs have it that do not say, and those of before there was a choice.
            all.insert("precision".to_string(), String::new());
        }
        all
    }

    /// Checks that a checkpoint's settings are these. With `moved`, files may lie elsewhere than then.
    ///
    /// # Errors
    /// Names every key that differs, with both values.
    pub fn check_resumes(&self, checkpoint: &BTreeMap<String, String>, moved: bool) -> Result<()> {
        let (ours, empty) = (self.essence(), String::new());
        // What a checkpoint says nothing of is newer than it, and was as it is by default.
        let default = Settings::new(self.stage).essence();
        let keys: std::collections::BTreeSet<&String> = ours.keys().chain(checkpoint.keys()).collect();
        let keys = keys.into_iter().filter(|key| !(moved && PLACES.contains(&&key[..])));
        let differing = keys.filter_map(|key| {
            let (now, then) = (ours.get(key).unwrap_or(&empty), checkpoint.get(key).or(default.get(key)));
            let then = then.unwrap_or(&empty);
            let show = |value: &String| if value.is_empty() { "unset".to_string() } else { value.clone() };
            (now != then).then(|| format!("{key} was {} and is {}", show(then), show(now)))
        });
        let differing: Vec<String> = differing.collect();
        match differing.is_empty() {
            true => Ok(()),
            false => {
                let remedy = "resume with the checkpoint's settings, or start anew in another folder";
                Err(Error::argument("resume", format!("{}; {remedy}", differing.join(", "))))
            }
        }
    }

    /// The parameters that learn.
    pub(super) fn trains(&self) -> Trains {
        match (self.stage, self.train) {
            (Stage::One, _) | (_, Trained::Adapter) => Trains::Adapter,
            (_, Trained::All) => Trains::All,
            (_, Trained::Lora) => Trains::LowRank,
        }
    }

    /// Batches of an optimiser step, on all ranks together.
    pub fn step_batches(&self) -> usize {
        self.accumulate.saturating_mul(self.ranks.unwrap_or(1))
    }

    /// What ends a batch.
    pub(super) fn batch_limit(&self) -> BatchLimit {
        self.batch_tokens.map_or(BatchLimit::Samples(self.batch_size), BatchLimit::Tokens)
    }
}

/// Settings that say where files lie.
const PLACES: [&str; 11] = [
    "data",
    "embeddings",
    "ids",
    "images_root",
    "init_adapter",
    "init_lora",
    "model",
    "noise_images",
    "stats",
    "text_model",
    "vision_model",
];

/// Words for an unknown key, with the nearest known one.
fn unknown(key: &str) -> String {
    let plain = key.replace('-', "_").to_lowercase();
    let near = Settings::KEYS.iter().map(|key| (strsim::damerau_levenshtein(key.name, &plain), key.name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + plain.len() / 3 => format!("unknown; did you mean {name:?}?"),
        _ => {
            let names: Vec<&str> = Settings::KEYS.iter().map(|key| key.name).collect();
            format!("unknown; known are {}", names.join(", "))
        }
    }
}
