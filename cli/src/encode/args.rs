//! The arguments of `embed`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use realign::ElementType;
use realign::encode::picture::Alpha;
use realign::io::SkipBad;

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
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

fn parse_dtype(text: &str) -> Result<ElementType, String> {
    match text {
        "f32" => Ok(ElementType::F32),
        "f16" => Ok(ElementType::F16),
        other => Err(format!("'{other}' is unknown; choose f32 or f16")),
    }
}
