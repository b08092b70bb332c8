//! The arguments of `bench` and `tune`.

use std::path::PathBuf;

use clap::Args;

use crate::shared::device::DeviceArgs;
use crate::shared::json::JsonArgs;

#[derive(Args)]
pub struct BenchArgs {
    /// Small data and short times: a minute or less, and noisier.
    #[arg(long)]
    pub quick: bool,
    /// Only cases whose name contains this; several with commas, or the flag again.
    #[arg(long, value_delimiter = ',', value_name = "TEXT")]
    pub filter: Vec<String>,
    #[command(flatten)]
    pub json: JsonArgs,
    /// The results as one self-contained HTML page.
    #[arg(long, value_name = "OUT.html")]
    pub html: Option<PathBuf>,
    /// Ratios against these earlier results.
    #[arg(long, value_name = "OLD.json")]
    pub compare: Option<PathBuf>,
    /// Measure nothing: make index.html in this folder from the results files there.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["quick", "filter", "html", "compare"])]
    pub gallery: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Args)]
pub struct TuneArgs {
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}
