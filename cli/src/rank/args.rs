//! The arguments of `rank`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use realign::rank::{NnnOptions, SAMPLE_ROWS, Score};

use crate::align::args::Budget;
use crate::geometry::pages::PageArgs;
use crate::shared::device::DeviceArgs;
use crate::shared::json::JsonArgs;
use crate::shared::read::ReadArgs;
use crate::shared::sources::EncoderArgs;

#[derive(Args)]
pub struct RankArgs {
    #[command(subcommand)]
    pub command: RankCommand,
}

#[derive(Subcommand)]
pub enum RankCommand {
    /// Counts what mixed search needs of each collection: exact mean and covariance, and a reference sample of rows.
    Fit(RankFitArgs),
    /// Merges rankings that were fitted to shards, or to collections apart: the same bits as fitted at once.
    Merge(RankMergeArgs),
    /// Searches all collections exactly, and puts what was found on one scale.
    Search(RankSearchArgs),
    /// Holds every score against graded answers, and its cut-offs against what passes.
    Compare(RankCompareArgs),
}

/// `NAME=FILES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedInput {
    pub name: String,
    pub path: PathBuf,
}

impl FromStr for NamedInput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(NamedInput { name: name.to_owned(), path: path.into() })
            }
            _ => Err(format!("'{text}' has no name; give NAME=FILES, as in text=captions.npy")),
        }
    }
}

#[derive(Args)]
pub struct RankFitArgs {
    /// A collection's rows: a file, a folder or a pattern. Again for each collection, and for further files of one.
    #[arg(long = "collection", required = true, value_name = "NAME=FILES")]
    pub collections: Vec<NamedInput>,
    /// Rows of a kind of query; without them a kind takes the statistics of the collection of its name, and the scores nnn and standardise, which are
    /// held against such reference queries, cannot be given.
    #[arg(long, value_name = "KIND=FILES")]
    pub queries: Vec<NamedInput>,
    /// Distinct rows of each reference sample at most.
    #[arg(long, default_value_t = SAMPLE_ROWS, value_name = "N")]
    pub sample: usize,
    /// Which rows the samples take.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Keep a mean and a trace of each alone, with noise that hides every single row, (ε, δ)-differentially private, such as 1,1e-6: for the scores centre,
    /// realign and raw, and fusion of lists.
    #[arg(long, value_name = "EPSILON,DELTA", conflicts_with_all = ["sample", "seed"])]
    pub private: Option<Budget>,
    /// The ranking to write.
    #[arg(long, value_name = "R.safetensors")]
    pub out: PathBuf,
    /// Replace the output if it exists.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub encoder: EncoderArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct RankMergeArgs {
    /// Rankings of one width, seed and size of samples.
    #[arg(required = true, value_name = "R.safetensors")]
    pub inputs: Vec<PathBuf>,
    /// The ranking to write.
    #[arg(long, value_name = "R.safetensors")]
    pub out: PathBuf,
    /// Replace the output if it exists, and merge rows of several encoders.
    #[arg(long)]
    pub force: bool,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

/// What is searched.
#[derive(Args)]
pub struct SearchedArgs {
    /// What the collections are: from realign rank fit.
    #[arg(long, value_name = "R.safetensors")]
    pub ranking: PathBuf,
    /// The queries' rows, with their kind where the ranking knows several: text=FILES.
    #[arg(long, required = true, value_name = "[KIND=]FILES")]
    pub queries: Vec<String>,
    /// A collection's rows, by a name that the ranking knows. Again for each collection, and for further files of one.
    #[arg(long = "collection", required = true, value_name = "NAME=FILES")]
    pub collections: Vec<NamedInput>,
    /// A list of the ids of a collection's rows, one per line or as a JSON array; by default the column `id`, else the rows' numbers.
    #[arg(long, value_name = "NAME=FILE")]
    pub ids: Vec<NamedInput>,
    /// The same of the queries.
    #[arg(long, value_name = "FILE")]
    pub query_ids: Option<PathBuf>,
    /// Name of the column of ids in .parquet inputs.
    #[arg(long, value_name = "NAME")]
    pub id_column: Option<String>,
    #[command(flatten)]
    pub nnn: NnnArgs,
    #[command(flatten)]
    pub encoder: EncoderArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// What the score nnn takes off.
#[derive(Args)]
pub struct NnnArgs {
    /// How much of an item's mean over reference queries nnn takes off; 0.75 by default.
    #[arg(long, value_name = "ALPHA")]
    pub nnn_alpha: Option<f64>,
    /// The reference queries, nearest to an item, that nnn averages; 128 by default.
    #[arg(long, value_name = "K")]
    pub nnn_neighbours: Option<usize>,
}

impl NnnArgs {
    pub fn given(&self) -> bool {
        self.nnn_alpha.is_some() || self.nnn_neighbours.is_some()
    }

    pub fn options(&self) -> NnnOptions {
        let default = NnnOptions::default();
        let (alpha, neighbours) = (self.nnn_alpha, self.nnn_neighbours);
        default.alpha(alpha.unwrap_or(default.alpha)).neighbours(neighbours.unwrap_or(default.neighbours))
    }
}

#[derive(Args)]
pub struct RankSearchArgs {
    #[command(flatten)]
    pub searched: SearchedArgs,
    /// How scores are made comparable: quantile, z, standardise, nnn, centre, realign, raw, dbsf or rrf.
    #[arg(long, default_value_t = Score::default(), value_name = "SCORE")]
    pub score: Score,
    /// Hits of a query at most.
    #[arg(long, default_value_t = 10, value_name = "K")]
    pub top: usize,
    /// The share of items that may pass, as in 0.001: the same cut-off for every query and every collection.
    #[arg(long, value_name = "SHARE")]
    pub pass: Option<f64>,
    /// The hits, as .jsonl or .parquet: query, rank, collection, row, id, raw, score.
    #[arg(long, value_name = "HITS")]
    pub out: PathBuf,
    /// Replace the output if it exists, and take rows of another encoder than the ranking's.
    #[arg(long)]
    pub force: bool,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct RankCompareArgs {
    #[command(flatten)]
    pub searched: SearchedArgs,
    /// Graded answers, a record a line: {"query": id, "collection": name, "item": id, "grade": n}.
    #[arg(long, value_name = "REL.jsonl")]
    pub relevance: PathBuf,
    #[command(flatten)]
    pub json: JsonArgs,
    #[command(flatten)]
    pub page: PageArgs,
}
