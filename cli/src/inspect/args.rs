//! The arguments of `adapters` and `info`.

use std::path::PathBuf;

use clap::Args;

use crate::shared::device::DeviceArgs;

#[derive(Args)]
pub struct AdaptersArgs {
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct InfoArgs {
    /// A file of statistics, moments, a ranking, a frame, a training that was stopped, a GGUF model, or rows: files, folders, glob patterns.
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
