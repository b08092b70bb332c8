//! The arguments.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use realign::ElementType;
use realign::align::{Centroid, Method};
use realign::device::{Device, DeviceOptions, Selection, backends_of};
use realign::io::{Dataset, FileFormat, OpenOptions};
use realign::stats::{NonFinite, StreamOptions};

use crate::bench::args::{BenchArgs, TuneArgs};
use crate::bench::tune;
use crate::experiment::args::{DemoArgs, ExperimentArgs};
use crate::geometry::args::{AnglesArgs, CalibrateArgs, CompareArgs, DriftArgs, FrameArgs, MeasureArgs};
use crate::inference::args::{EvaluateArgs, GenerateArgs, ScoreArgs};
use crate::train::args::TrainArgs;

/// Closes the modality gap between text and image embeddings, on any GPU or none.
#[derive(Parser)]
#[command(name = "realign", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Says more on stderr.
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Lists the devices that --device can name.
    Adapters(AdaptersArgs),
    /// Counts one side's moments, for merging and fitting later.
    Stats(StatsArgs),
    /// Merges moments counted apart, exactly, in any order; and covariances, up to rounding.
    Merge(MergeArgs),
    /// Fits an operator that maps the source (text) into the cloud of the target (image).
    Fit(FitArgs),
    /// Applies a fitted operator to files of rows.
    Apply(ApplyArgs),
    /// Measures the gap between two sets, or what alignment made of it: every diagnostic.
    Measure(MeasureArgs),
    /// Fits every method on one half of the rows and measures it on the other half.
    Compare(CompareArgs),
    /// How many rows a fit needs, how it carries over to other domains, and whether new data asks for another.
    Calibrate(CalibrateArgs),
    /// Builds the fixed frame of two sets: the span of their leading directions.
    Frame(FrameArgs),
    /// Principal angles between two frames.
    Angles(AnglesArgs),
    /// How the passive bias and the projected mean moved between two snapshots of paired or unpaired sets.
    Drift(DriftArgs),
    /// Trains an adapter on aligned text (stage 1), or adapter and language model on images (stage 2).
    Train(TrainArgs),
    /// How likely a model finds texts about embeddings: mean negative log-likelihood.
    Score(ScoreArgs),
    /// Asks a model about an image embedding.
    Generate(GenerateArgs),
    /// Asks a model many questions with known answers: accuracy by question type.
    Evaluate(EvaluateArgs),
    /// Says what a file holds.
    Info(InfoArgs),
    /// Times every kernel and job on a device, against what the device can do at most; compares with earlier results.
    Bench(BenchArgs),
    /// Measures which kernels are fastest on an adapter, and keeps that for later commands.
    Tune(TuneArgs),
    /// The whole experiment on bundled images of digits, in minutes: dual encoder, alignment, training on text, real images.
    Demo(DemoArgs),
    /// The experiment over several seeds; with --full every aligner and ablation, lengths of captions and sizes of the pool.
    Experiment(ExperimentArgs),
}

#[derive(Args)]
pub struct DeviceArgs {
    /// auto (a GPU, else the host's cores), gpu, host, or an adapter's name, part of it, or number.
    #[arg(long, default_value = "auto", value_name = "auto|gpu|host|NAME", value_parser = NonEmptyStringValueParser::new())]
    device: String,
    /// Only adapters of these backends: vulkan, metal, dx12, gl; several with commas.
    #[arg(long, value_name = "LIST", value_parser = parse_backends)]
    backend: Option<wgpu::Backends>,
    /// The fixed choice of kernels, not the one that was measured on this adapter.
    #[arg(long)]
    no_tune: bool,
    /// Multiply matrices on the GPU's matrix units: faster, with operands rounded to f16 (sums are f32).
    #[arg(long)]
    matrix_units: bool,
}

fn parse_backends(text: &str) -> Result<wgpu::Backends, String> {
    backends_of(text).ok_or_else(|| format!("'{text}' is no backend; choose vulkan, metal, dx12 or gl"))
}

impl DeviceArgs {
    pub fn backends(&self) -> Option<wgpu::Backends> {
        self.backend
    }

    /// The device, with its tuning unless --no-tune.
    pub fn request(&self) -> Result<Device> {
        let device = self.request_untuned()?;
        if self.no_tune { Ok(device) } else { tune::tuned(device) }
    }

    pub fn request_untuned(&self) -> Result<Device> {
        let selection: Selection = match self.device.parse() {
            Ok(selection) => selection,
            Err(never) => match never {},
        };
        let matrix_units = self.matrix_units;
        let options = DeviceOptions { selection, backends: self.backend, matrix_units, ..DeviceOptions::default() };
        let device = Device::request_blocking(&options)?;
        if matrix_units && device.capabilities().matrix_units.is_none() {
            bail!("--matrix-units: {} has none; leave the option out", device.name());
        }
        log::info!("device: {} ({})", device.name(), device.capabilities().kind.name());
        Ok(device)
    }
}

#[derive(Args)]
pub struct ReadArgs {
    /// Name of the tensor in .safetensors inputs; by default the only 2-D one.
    #[arg(long)]
    key: Option<String>,
    /// Name of the column in .parquet inputs; by default the only list column of floats.
    #[arg(long)]
    column: Option<String>,
    /// Rows of a chunk; by default what suits the device.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunk_rows: Option<u32>,
    /// What to do with NaN and infinities: stop, or read them as 0.
    #[arg(long, value_enum, default_value_t = NonFiniteArg::Error)]
    nonfinite: NonFiniteArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum NonFiniteArg {
    Error,
    Zero,
}

impl ReadArgs {
    pub fn open(&self, inputs: &[PathBuf]) -> Result<Dataset> {
        let options = OpenOptions { key: self.key.clone(), column: self.column.clone(), ..Default::default() };
        Ok(Dataset::open(inputs, &options)?)
    }

    pub fn stream<'a>(&self, progress: Option<&'a (dyn Fn(u64) + Sync)>) -> StreamOptions<'a> {
        let nonfinite = match self.nonfinite {
            NonFiniteArg::Error => NonFinite::Error,
            NonFiniteArg::Zero => NonFinite::Zero,
        };
        StreamOptions { chunk_rows: self.chunk_rows.map(|n| n as usize), nonfinite, progress }
    }
}

#[derive(Args)]
pub struct AdaptersArgs {
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct StatsArgs {
    /// Files, folders or glob patterns of rows: .npy, .safetensors, .parquet.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// The moments file to write.
    #[arg(long, value_name = "M.safetensors")]
    pub out: PathBuf,
    /// Count the covariance too, for realign frame: in f64 on the host, in f32 to 1e-6 on a GPU. Reads the rows twice, and takes d²
    /// numbers in memory and in the file.
    #[arg(long)]
    pub covariance: bool,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct MergeArgs {
    /// Moments files.
    #[arg(required = true, value_name = "MOMENTS")]
    pub inputs: Vec<PathBuf>,
    /// The moments file to write.
    #[arg(long, value_name = "M.safetensors")]
    pub out: PathBuf,
    /// Merge the moments alone, where not all files have a covariance.
    #[arg(long)]
    pub without_covariance: bool,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct FitArgs {
    /// The rows to be mapped: text.
    #[arg(long, num_args = 1.., value_name = "TEXT", required_unless_present = "source_stats")]
    pub source: Vec<PathBuf>,
    /// The rows whose cloud is the target: image.
    #[arg(long, num_args = 1.., value_name = "IMAGE", required_unless_present = "target_stats", conflicts_with = "target_stats")]
    pub target: Vec<PathBuf>,
    /// The source's moments, from realign stats or merge. The centroid step still needs --source.
    #[arg(long, value_name = "MOMENTS")]
    pub source_stats: Option<PathBuf>,
    /// The target's moments, from realign stats or merge.
    #[arg(long, value_name = "MOMENTS")]
    pub target_stats: Option<PathBuf>,
    /// The statistics file to write.
    #[arg(long, value_name = "S.safetensors")]
    pub out: PathBuf,
    /// realign, anchor, anchor-trace, mean-shift, c3, blockwise or none; realign by default.
    #[arg(long)]
    pub method: Option<Method>,
    /// The centroid step: 1 (the paper), K (repeated), or exact (Newton).
    #[arg(long, default_value = "1", value_name = "1|K|exact")]
    pub centroid: Centroid,
    /// Standard deviation of C3's noise; by default what makes up the difference of the traces.
    #[arg(long, value_name = "S")]
    pub sigma: Option<f64>,
    /// Seed of C3's noise.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Blockwise alignment's ridge, as a share of the source's mean variance; 1e-6 by default.
    #[arg(long, value_name = "R")]
    pub shrinkage: Option<f64>,
    /// Energy of the frame that blockwise alignment splits by; 0.90 by default.
    #[arg(long, value_name = "E")]
    pub energy: Option<f64>,
    /// Accept one row, or rows that are all equal.
    #[arg(long)]
    pub allow_degenerate: bool,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ApplyArgs {
    /// Files, folders or glob patterns of rows: .npy, .safetensors, .parquet.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// The fitted operator, from realign fit.
    #[arg(long, value_name = "S.safetensors")]
    pub stats: PathBuf,
    /// Where to write: a file for one input file, else a folder, where outputs keep the inputs' names.
    #[arg(long)]
    pub out: PathBuf,
    /// npy, safetensors or parquet; by default as the input.
    #[arg(long)]
    pub format: Option<FileFormat>,
    /// f16, bf16, f32 or f64; by default as the input.
    #[arg(long, value_parser = parse_dtype)]
    pub dtype: Option<ElementType>,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

fn parse_dtype(text: &str) -> Result<ElementType, String> {
    let all = [ElementType::F16, ElementType::BF16, ElementType::F32, ElementType::F64];
    all.into_iter()
        .find(|e| e.name() == text)
        .ok_or_else(|| format!("'{text}' is no type; choose f16, bf16, f32 or f64"))
}

#[derive(Args)]
pub struct InfoArgs {
    /// A statistics file, a moments file, or rows: files, folders, glob patterns.
    #[arg(required = true, value_name = "FILE")]
    pub inputs: Vec<PathBuf>,
    /// Name of the tensor in .safetensors inputs.
    #[arg(long)]
    pub key: Option<String>,
    /// Name of the column in .parquet inputs.
    #[arg(long)]
    pub column: Option<String>,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}
