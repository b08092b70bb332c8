//! The arguments of the commands that ask a trained model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use realign::ElementType;
use realign::align::Method;
use realign::device::Device;
use realign::encode::cache::PictureRecords;
use realign::encode::image_width;
use realign::inference::AnswerOptions;
use realign::io::{AdapterWeights, ChatDate, Extent, Join, SkipBad};
use realign::nn::Precision;
use realign::nn::decoder::OpenDecoder;
use realign::nn::decoder::generate::Sampling;
use realign::train::{EmbeddingFiles, NamedEmbeddings};

use crate::shared::device::DeviceArgs;
use crate::shared::json::JsonArgs;
use crate::shared::sources;

/// The model.
#[derive(Args)]
pub struct ModelArgs {
    /// The language model: a folder in Hugging Face's layout, or a GGUF file.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    pub model: PathBuf,
    /// The adapter: a safetensors file, or a folder that holds adapter.safetensors or mm_projector.safetensors.
    #[arg(long, value_name = "A.safetensors", required = true)]
    adapter: Option<PathBuf>,
    /// Visual tokens per image; by default as in the adapter's training, where its file says so, else as many as it makes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    visual_tokens: Option<u32>,
    /// What the language model computes in: mixed halves its memory, f16 for weights and activations, f32 for sums.
    #[arg(long, default_value = "f32", value_parser = parse_precision, value_name = "f32|mixed")]
    pub precision: Precision,
    /// What the language model's matrices are stored as; by default each as in its file, and f16 with --precision mixed.
    #[arg(long, value_parser = parse_weights, value_name = "f32|f16|bf16|q8_0")]
    weights: Option<ElementType>,
    /// Low-rank additions to the language model: a folder in PEFT's layout, such as the one that a run leaves in OUT/lora.
    #[arg(long, value_name = "DIR")]
    lora: Option<PathBuf>,
    /// The date that a chat template writes, where it writes one, as 2026-01-31; by default today.
    #[arg(long, value_name = "DATE")]
    pub date: Option<ChatDate>,
}

pub fn parse_precision(text: &str) -> Result<Precision, String> {
    text.parse().map_err(|_| format!("'{text}' is unknown; choose f32 or mixed"))
}

fn parse_weights(text: &str) -> Result<ElementType, String> {
    match text {
        "f32" => Ok(ElementType::F32),
        "f16" => Ok(ElementType::F16),
        "bf16" => Ok(ElementType::BF16),
        "q8_0" => Ok(ElementType::Q8_0),
        other => Err(format!("'{other}' is unknown; choose f32, f16, bf16 or q8_0")),
    }
}

impl ModelArgs {
    /// How the language model is opened.
    pub fn decoder(&self) -> OpenDecoder<'_> {
        OpenDecoder { precision: self.precision, weights: self.weights, low_rank: self.lora.as_deref() }
    }

    /// The adapter; only `generate` goes without.
    pub fn adapter(&self) -> Result<&Path> {
        self.adapter.as_deref().context("--adapter is missing")
    }

    /// The adapter, if there is one.
    pub fn adapter_if_given(&self) -> Option<&Path> {
        self.adapter.as_deref()
    }

    pub fn visual_tokens(&self) -> Option<usize> {
        self.visual_tokens.map(|count| count as usize)
    }
}

/// Records and their embeddings.
#[derive(Args)]
pub struct DataArgs {
    /// Records: .jsonl, or .json with one array.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Files, folders or patterns of embeddings: .npy, .safetensors, .parquet.
    #[arg(long, num_args = 1.., required_unless_present = "vision_model", conflicts_with = "vision_model", value_name = "FILE")]
    embeddings: Vec<PathBuf>,
    /// An image encoder that embeds the pictures which the records name, instead of embeddings: a folder of CLIP or SigLIP.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["ids", "key", "column", "id_column", "stats"])]
    vision_model: Option<PathBuf>,
    /// The folder that the pictures' names are relative to; by default that of the records.
    #[arg(long, value_name = "DIR", requires = "vision_model")]
    images_root: Option<PathBuf>,
    /// Where embeddings that were computed are kept, each once; by default in the user's cache folder.
    #[arg(long, value_name = "DIR", requires = "vision_model")]
    cache: Option<PathBuf>,
    /// The list of the embeddings' ids, for npy and safetensors files.
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// The embeddings' tensor in safetensors files.
    #[arg(long)]
    key: Option<String>,
    /// The embeddings' column in parquet files.
    #[arg(long)]
    column: Option<String>,
    /// The column of ids in parquet files.
    #[arg(long)]
    id_column: Option<String>,
    /// What names a record's embedding: id, image, or auto (id if there is an embedding of that name, else image).
    #[arg(long, default_value = "auto", value_parser = parse_join, value_name = "auto|id|image")]
    pub join: Join,
    /// Leave out records without an embedding.
    #[arg(long)]
    pub skip_missing: bool,
    /// Leave out so many bad records, or all: those with an empty text, an unknown role, misplaced marks and the like.
    #[arg(long, default_value_t, value_name = "N|all")]
    pub skip_bad: SkipBad,
}

fn parse_join(text: &str) -> Result<Join, String> {
    match text {
        "auto" => Ok(Join::Auto),
        "id" => Ok(Join::Id),
        "image" => Ok(Join::Image),
        other => Err(format!("'{other}' is unknown; choose auto, id or image")),
    }
}

/// Opened embeddings, and whether records without one may be left out.
pub struct Opened {
    pub embeddings: NamedEmbeddings,
    pub skip_missing: bool,
}

impl DataArgs {
    /// The embeddings that were named, or those of the pictures, in the precision that the language model computes in.
    pub fn open(&self, device: &Device, language: &ModelArgs, extent: Extent) -> Result<Opened> {
        let Some(model) = &self.vision_model else {
            return Ok(Opened { embeddings: self.files().open()?, skip_missing: self.skip_missing });
        };
        // Before hours of work, not behind them.
        let adapter = language.adapter()?;
        super::check_width(adapter, AdapterWeights::load(adapter)?.inputs(), image_width(model)?)?;
        let (data, root, join) = (self.data.as_path(), self.images_root.as_deref(), self.join);
        let records = PictureRecords { data, root, join, skip_missing: self.skip_missing, extent };
        let cache = sources::cache(self.cache.as_deref())?.skip_bad(self.skip_bad).precision(language.precision);
        let kept = sources::watched(cache, |cache| Ok(cache.pictures_of(device, model, &records)?))?;
        let (inputs, ids) = (&[kept.rows][..], Some(kept.ids.as_path()));
        let files = EmbeddingFiles { inputs, ids, key: None, column: None, id_column: None };
        // Pictures that cannot be used have no row; those that are not there were refused.
        Ok(Opened { embeddings: files.open()?, skip_missing: self.skip_missing || kept.bad > 0 })
    }

    /// Whether they are computed here.
    pub fn makes_embeddings(&self) -> bool {
        self.vision_model.is_some()
    }

    fn files(&self) -> EmbeddingFiles<'_> {
        EmbeddingFiles {
            inputs: &self.embeddings,
            ids: self.ids.as_deref(),
            key: self.key.as_deref(),
            column: self.column.as_deref(),
            id_column: self.id_column.as_deref(),
        }
    }
}

/// How answers are made.
#[derive(Args)]
pub struct SamplingArgs {
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// 0 always takes the most likely token; higher is freer.
    #[arg(long, default_value_t = 0.0, value_name = "T", allow_negative_numbers = true)]
    temperature: f32,
    /// Choose among the most likely tokens that make up this probability.
    #[arg(long, default_value_t = 1.0, value_name = "P", allow_negative_numbers = true)]
    top_p: f32,
    /// Seed of the choice.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
}

impl SamplingArgs {
    pub fn options(&self, one_line: bool) -> AnswerOptions {
        let sampling = Sampling { temperature: self.temperature, top_p: self.top_p, seed: self.seed };
        AnswerOptions { sampling, max_tokens: self.max_tokens as usize, one_line }
    }
}

#[derive(Args)]
pub struct ScoreArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    /// Align the embeddings first, as stage 1 does: statistics from realign fit.
    #[arg(long, value_name = "S.safetensors")]
    pub stats: Option<PathBuf>,
    /// The aligner, if not the one that the statistics were fitted for.
    #[arg(long, requires = "stats", value_name = "METHOD")]
    pub aligner: Option<Method>,
    /// Longest sample in tokens.
    #[arg(long, default_value_t = 2048, value_name = "N")]
    pub max_length: usize,
    /// Samples per batch.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: u32,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Args)]
#[command(mut_arg("adapter", |arg| arg.required(false)))]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The image's embedding: .npy (also 1-D), .safetensors or .parquet. Without it, the prompt is text alone, and no adapter is
    /// needed.
    #[arg(long, value_name = "FILE", requires = "adapter")]
    pub image_embedding: Option<PathBuf>,
    /// The image: a picture (png, jpg, webp, gif, bmp), which --vision-model embeds.
    #[arg(
        long,
        value_name = "FILE",
        requires = "adapter",
        requires = "vision_model",
        conflicts_with = "image_embedding"
    )]
    pub image: Option<PathBuf>,
    /// The encoder of --image: a folder of CLIP or SigLIP.
    #[arg(long, value_name = "DIR", requires = "image")]
    pub vision_model: Option<PathBuf>,
    /// The row, in a file of several.
    #[arg(long, value_name = "N", requires = "image_embedding")]
    pub row: Option<u32>,
    /// The tensor in a safetensors file.
    #[arg(long, requires = "image_embedding")]
    pub key: Option<String>,
    /// The column in a parquet file.
    #[arg(long, requires = "image_embedding")]
    pub column: Option<String>,
    /// The question; <image> in it stands for the image, which otherwise comes first. With --plain the text to continue, which
    /// may be empty.
    #[arg(long, required_unless_present = "plain", default_value_if("plain", "true", ""))]
    pub prompt: Option<String>,
    /// Instructions before the question.
    #[arg(long, value_name = "TEXT", conflicts_with = "plain", value_parser = NonEmptyStringValueParser::new())]
    pub system: Option<String>,
    /// No chat template: BOS, image, prompt, and one line of answer, as stage 1 trains.
    #[arg(long)]
    pub plain: bool,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    /// Letter case and a final full stop do not matter.
    #[arg(long)]
    pub lenient: bool,
    /// No chat template: the records are captions, and the model is to say them, as stage 1 trains: BOS, image, one line of answer.
    #[arg(long)]
    pub plain: bool,
    /// Ask so many records alone, the first that can be asked.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Align the embeddings first, as stage 1 does: statistics from realign fit.
    #[arg(long, value_name = "S.safetensors")]
    pub stats: Option<PathBuf>,
    /// The aligner, if not the one that the statistics were fitted for.
    #[arg(long, requires = "stats", value_name = "METHOD")]
    pub aligner: Option<Method>,
    /// Every question's answer, as JSON lines.
    #[arg(long, value_name = "OUT.jsonl")]
    pub predictions: Option<PathBuf>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}
