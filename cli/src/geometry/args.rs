//! The arguments of the commands that measure.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use realign::align::{Centroid, Method};
use realign::geometry::{Cut, DiagnosisOptions};

use crate::align::args::PlaneArgs;
use crate::geometry::pages::PageArgs;
use crate::shared::device::DeviceArgs;
use crate::shared::json::JsonArgs;
use crate::shared::read::ReadArgs;
use crate::shared::sources::EncoderArgs;

/// How many directions a frame has.
#[derive(Args)]
pub struct CutArgs {
    /// Energy of the frame: the fewest directions that hold this share; 0.90 by default.
    #[arg(long, value_name = "E", conflicts_with = "rank")]
    energy: Option<f64>,
    /// Directions of the frame.
    #[arg(long, value_name = "R")]
    rank: Option<usize>,
}

impl CutArgs {
    /// The flag of these that is given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [("--energy", self.energy.is_some()), ("--rank", self.rank.is_some())];
        flags.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }

    pub fn cut(&self) -> Cut {
        match (self.rank, self.energy) {
            (Some(rank), _) => Cut::Rank(rank),
            (None, Some(energy)) => Cut::Energy(energy),
            (None, None) => Cut::default(),
        }
    }
}

/// Sizes of neighbourhoods.
#[derive(Args)]
pub struct NeighbourArgs {
    /// Neighbours of the mixing rate and of omega.
    #[arg(long, value_name = "K", default_value_t = 20)]
    mixing_k: usize,
    /// Neighbours of the overlap before and after.
    #[arg(long, value_name = "K", default_value_t = 10)]
    overlap_k: usize,
    /// Rows of the neighbour overlap, the first ones; mixing takes half as many of each side.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    neighbour_rows: usize,
}

impl NeighbourArgs {
    pub fn options(&self) -> DiagnosisOptions {
        DiagnosisOptions {
            mixing_k: self.mixing_k,
            overlap_k: self.overlap_k,
            neighbour_rows: self.neighbour_rows,
            q: None,
            ..DiagnosisOptions::default()
        }
    }
}

#[derive(Args)]
pub struct MeasureArgs {
    /// The rows before alignment: text.
    #[arg(long, num_args = 1.., required = true, value_name = "TEXT")]
    pub source: Vec<PathBuf>,
    /// The rows whose cloud is the target: image.
    #[arg(long, num_args = 1.., required = true, value_name = "IMAGE")]
    pub target: Vec<PathBuf>,
    /// The source's rows after alignment, in the same order: measured in the source's place, and against it.
    #[arg(long, num_args = 1.., value_name = "ALIGNED")]
    pub aligned: Vec<PathBuf>,
    /// Row i of the source is the partner of row i of the target: decomposes their differences too.
    #[arg(long)]
    pub paired: bool,
    /// The fixed frame, from realign frame; by default it is built from source and target.
    #[arg(long, value_name = "F.safetensors", conflicts_with_all = ["energy", "rank"])]
    pub frame: Option<PathBuf>,
    #[command(flatten)]
    pub cut: CutArgs,
    #[command(flatten)]
    pub neighbours: NeighbourArgs,
    /// Seed of the directions of the sliced Wasserstein distance.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    #[command(flatten)]
    pub encoder: EncoderArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
    #[command(flatten)]
    pub page: PageArgs,
}

#[derive(Args)]
pub struct CompareArgs {
    /// The rows to be aligned: text.
    #[arg(long, num_args = 1.., required = true, value_name = "TEXT")]
    pub source: Vec<PathBuf>,
    /// The rows whose cloud is the target: image.
    #[arg(long, num_args = 1.., required = true, value_name = "IMAGE")]
    pub target: Vec<PathBuf>,
    /// Row i of the source is the partner of row i of the target: decomposes their differences too, for each method, and
    /// compares with ridge, which is fitted to pairs.
    #[arg(long)]
    pub paired: bool,
    /// Only these methods.
    #[arg(long, num_args = 1.., value_name = "METHOD")]
    pub methods: Vec<Method>,
    #[command(flatten)]
    pub fit: FitOptionArgs,
    #[command(flatten)]
    pub cut: CutArgs,
    #[command(flatten)]
    pub neighbours: NeighbourArgs,
    #[command(flatten)]
    pub encoder: EncoderArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
    #[command(flatten)]
    pub page: PageArgs,
}

/// What methods take.
#[derive(Args)]
pub struct FitOptionArgs {
    /// The centroid step of realign, blockwise, ot and anisoalign: 1 (the paper, and the default), K (repeated), or exact, for realign alone:
    /// in compare the others then take one step.
    #[arg(long, value_name = "1|K|exact")]
    pub centroid: Option<Centroid>,
    /// Standard deviation of C3's noise; by default what makes up the difference of the traces.
    #[arg(long, value_name = "S")]
    pub sigma: Option<f64>,
    /// Seed of what is random.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// The ridge of blockwise, ot and ridge, as a share of the source's mean variance; 1e-6 by default.
    #[arg(long, value_name = "R")]
    pub shrinkage: Option<f64>,
    /// How much of ot's map is transport, 0 to 1; the rest is realign's scaling. 1 by default.
    #[arg(long, value_name = "T")]
    pub strength: Option<f64>,
    #[command(flatten)]
    pub planes: PlaneArgs,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum SideArg {
    Source,
    Target,
}

#[derive(Args)]
pub struct CalibrateArgs {
    /// Sample-size study: the rows to be aligned.
    #[arg(long, num_args = 1.., value_name = "TEXT", requires = "target")]
    pub source: Vec<PathBuf>,
    /// Sample-size study: the rows whose cloud is the target.
    #[arg(long, num_args = 1.., value_name = "IMAGE", requires = "source")]
    pub target: Vec<PathBuf>,
    /// Sizes of the study; by default 100, 200, 500, 1000, ... and all.
    #[arg(long, num_args = 1.., value_name = "N", requires = "source")]
    pub sizes: Vec<u64>,
    /// Trials of each size.
    #[arg(long, default_value_t = 5, value_name = "K")]
    pub trials: u32,
    /// Transfer between domains: a name, its text and its image rows. Give it once for each domain, twice at least.
    #[arg(long, num_args = 3, action = ArgAction::Append, value_names = ["NAME", "TEXT", "IMAGE"])]
    pub domain: Vec<String>,
    /// Drift check: the statistics of the fit.
    #[arg(long, value_name = "S.safetensors", requires = "batch")]
    pub stats: Option<PathBuf>,
    /// Drift check: rows of now.
    #[arg(long, num_args = 1.., value_name = "NEW", requires = "stats")]
    pub batch: Vec<PathBuf>,
    /// Drift check: which side's rows the batch holds.
    #[arg(long, value_enum, default_value_t = SideArg::Source)]
    pub side: SideArg,
    /// Drift check: recalibrate where the p-value is below this.
    #[arg(long, default_value_t = 0.01, value_name = "P")]
    pub significance: f64,
    /// The method that is studied; realign by default.
    #[arg(long)]
    pub method: Option<Method>,
    #[command(flatten)]
    pub fit: FitOptionArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
    #[command(flatten)]
    pub page: PageArgs,
}

#[derive(Args)]
pub struct FrameArgs {
    /// The first set: text.
    #[arg(long, num_args = 1.., value_name = "TEXT", required_unless_present = "source_stats", conflicts_with = "source_stats")]
    pub source: Vec<PathBuf>,
    /// The second set: image.
    #[arg(long, num_args = 1.., value_name = "IMAGE", required_unless_present = "target_stats", conflicts_with = "target_stats")]
    pub target: Vec<PathBuf>,
    /// The first set's covariance, from realign stats --covariance or merge.
    #[arg(long, value_name = "MOMENTS")]
    pub source_stats: Option<PathBuf>,
    /// The second set's covariance, from realign stats --covariance or merge.
    #[arg(long, value_name = "MOMENTS")]
    pub target_stats: Option<PathBuf>,
    /// The frame file to write.
    #[arg(long, value_name = "F.safetensors")]
    pub out: PathBuf,
    #[command(flatten)]
    pub cut: CutArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Args)]
pub struct AnglesArgs {
    /// The frame of reference, from realign frame.
    #[arg(long, value_name = "FRAME")]
    pub a: PathBuf,
    /// The other frame.
    #[arg(long, value_name = "FRAME")]
    pub b: PathBuf,
    /// Also write the pairs of directions that make the angles, tensors `a` and `b` [k, d] and `angles_rad` [k].
    #[arg(long, value_name = "OUT.safetensors")]
    pub vectors: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Args)]
pub struct DriftArgs {
    /// The earlier snapshot's text rows.
    #[arg(long, num_args = 1.., required = true, value_name = "TEXT")]
    pub source: Vec<PathBuf>,
    /// The earlier snapshot's image rows.
    #[arg(long, num_args = 1.., required = true, value_name = "IMAGE")]
    pub target: Vec<PathBuf>,
    /// The later snapshot's text rows.
    #[arg(long, num_args = 1.., required = true, value_name = "TEXT")]
    pub source_now: Vec<PathBuf>,
    /// The later snapshot's image rows.
    #[arg(long, num_args = 1.., required = true, value_name = "IMAGE")]
    pub target_now: Vec<PathBuf>,
    /// The fixed frame, from realign frame; by default that of the earlier snapshot.
    #[arg(long, value_name = "F.safetensors", conflicts_with_all = ["energy", "rank"])]
    pub frame: Option<PathBuf>,
    #[command(flatten)]
    pub cut: CutArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}
