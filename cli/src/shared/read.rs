//! How rows are read.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use realign::io::{Dataset, OpenOptions};
use realign::stats::{NonFinite, StreamOptions};

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

    /// What becomes of NaN and infinities.
    pub fn nonfinite(&self) -> NonFinite {
        match self.nonfinite {
            NonFiniteArg::Error => NonFinite::Error,
            NonFiniteArg::Zero => NonFinite::Zero,
        }
    }

    pub fn stream<'a>(&self, progress: Option<&'a (dyn Fn(u64) + Sync)>) -> StreamOptions<'a> {
        let rows = self.chunk_rows.map(|n| n as usize);
        StreamOptions::default().chunk_rows(rows).nonfinite(self.nonfinite()).progress(progress)
    }
}
