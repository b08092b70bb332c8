//! The arguments of `embed`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use realign::ElementType;
use realign::encode::picture::Alpha;
use realign::encode::{Pooling, TextOptions};
use realign::io::SkipBad;
use realign::nn::Precision;

use crate::inference::args::parse_precision;
use crate::shared::device::DeviceArgs;
use crate::shared::json::JsonArgs;

#[derive(Args)]
#[command(group = ArgGroup::new("inputs").required(true).args(["images", "texts"]))]
pub struct EmbedArgs {
    /// The encoder: a folder in Hugging Face's layout, of CLIP, SigLIP or, for texts, sentence-transformers.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Pictures: files (png, jpg, webp, gif, bmp), folders with their folders, or patterns such as 'photos/**/*.jpg'.
    #[arg(long, value_name = "FILE|FOLDER|PATTERN", num_args = 1..)]
    pub images: Vec<PathBuf>,
    /// Texts: .jsonl or .json with records {"id", "text"}, or .txt with a text a line.
    #[arg(long, value_name = "FILE.jsonl|.json|.txt")]
    pub texts: Option<PathBuf>,
    /// The file of rows; parquet holds their ids, too.
    #[arg(long, value_name = "OUT.npy|.safetensors|.parquet")]
    pub out: PathBuf,
    /// A list of the rows' ids: one a line, or a JSON array where the name ends in .json.
    #[arg(long, value_name = "ids.txt")]
    pub ids_out: Option<PathBuf>,
    /// Divide each row by its norm.
    #[arg(long)]
    pub normalize: bool,
    /// The type of each number.
    #[arg(long, default_value = "f32", value_parser = parse_dtype, value_name = "f32|f16")]
    pub dtype: ElementType,
    /// Pictures or texts that are encoded together; by default what suits the device.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_size: Option<u32>,
    /// Write files of so many rows, OUT_00000.npy, OUT_00001.npy and so on, each as it is full.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub shard_rows: Option<u64>,
    /// Go on with a run that was stopped or killed; begin where there is none.
    #[arg(long)]
    pub resume: bool,
    /// How many broken pictures or bad records may be left out, or all: they are counted, and the first ten named.
    #[arg(long, default_value_t = SkipBad::default(), value_name = "N|all")]
    pub skip_bad: SkipBad,
    /// Transparent pixels: laid over white, as Transformers 5 does it, or their alpha dropped, as Transformers 4 does it.
    #[arg(long, default_value = "white", value_name = "white|drop")]
    pub alpha: Alpha,
    /// A decoder's row of a text: the mean of its tokens' rows, or the last one's; by default as the folder says.
    #[arg(long, value_parser = parse_pool, value_name = "mean|last", conflicts_with = "images")]
    pub pool: Option<Pooling>,
    /// A decoder's tokens see all others, not those before them alone.
    #[arg(long, conflicts_with = "images")]
    pub bidirectional: bool,
    /// What stands before each text, such as an instruction.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["images", "prompt_name"])]
    pub prompt: Option<String>,
    /// One of the folder's own prompts (config_sentence_transformers.json) before each text.
    #[arg(long, value_name = "NAME", conflicts_with = "images")]
    pub prompt_name: Option<String>,
    /// A matrix that a decoder's rows are multiplied by: a safetensors file.
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    pub projection: Option<PathBuf>,
    /// What the encoder computes in: f32, or f16 for its matrices and what products read. Faster on tensor cores.
    #[arg(long, default_value = "f32", value_parser = parse_precision, value_name = "f32|mixed")]
    pub precision: Precision,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

impl EmbedArgs {
    /// How texts become rows.
    pub fn text_options(&self) -> TextOptions {
        TextOptions::default()
            .prompt(self.prompt.clone())
            .prompt_name(self.prompt_name.clone())
            .pooling(self.pool)
            .bidirectional(self.bidirectional)
            .projection(self.projection.clone())
            .precision(self.precision)
    }

    /// What is set of how rows are made, which a run that goes on must agree in.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let set = [
            ("pool", self.pool.map(|pool| format!("{pool:?}").to_lowercase())),
            ("bidirectional", self.bidirectional.then(|| "true".to_owned())),
            ("prompt", self.prompt.clone()),
            ("prompt_name", self.prompt_name.clone()),
            ("precision", (self.precision != Precision::F32).then(|| self.precision.name().to_owned())),
        ];
        set.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn parse_pool(text: &str) -> Result<Pooling, String> {
    match text {
        "mean" => Ok(Pooling::Mean),
        "last" => Ok(Pooling::Last),
        other => Err(format!("'{other}' is unknown; choose mean or last")),
    }
}

fn parse_dtype(text: &str) -> Result<ElementType, String> {
    match text {
        "f32" => Ok(ElementType::F32),
        "f16" => Ok(ElementType::F16),
        other => Err(format!("'{other}' is unknown; choose f32 or f16")),
    }
}
