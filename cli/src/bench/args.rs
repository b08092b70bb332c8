//! The arguments of `bench` and `tune`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, value_parser};

use crate::shared::device::DeviceArgs;
use crate::shared::json::JsonArgs;

#[derive(Args)]
#[command(group = ArgGroup::new("other side").args(["against", "against_device"]).multiple(true))]
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
    /// Ratios against these earlier results, judged by how the yardsticks differ.
    #[arg(long, value_name = "OLD.json")]
    pub compare: Option<PathBuf>,
    /// Another build of realign, timed in turns with this one: ratios, with the machine's drift beside them.
    #[arg(long, value_name = "BINARY")]
    pub against: Option<PathBuf>,
    /// Another device, timed in turns with the first: of this build, or of the one that --against names.
    #[arg(long, value_name = "DEVICE", value_parser = NonEmptyStringValueParser::new())]
    pub against_device: Option<String>,
    /// Turns of either side: 8 unless given.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(4..), requires = "other side")]
    pub rounds: Option<u16>,
    /// Measure nothing: make index.html in this folder from the results files there.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["quick", "filter", "html", "compare", "against", "against_device"])]
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
