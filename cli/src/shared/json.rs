//! Results for programs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use realign::io::{check_writable, write_atomically};
use serde_json::Value;

use crate::shared::show;

/// Where the machine-readable result goes.
#[derive(Args)]
pub struct JsonArgs {
    /// Machine-readable result: alone on stdout, or with a value in that file.
    #[arg(long, value_name = "OUT", num_args = 0..=1)]
    json: Option<Option<PathBuf>>,
    /// Replace outputs that exist.
    #[arg(long)]
    pub force: bool,
}

impl JsonArgs {
    /// The file, if one is named.
    pub fn file(&self) -> Option<PathBuf> {
        self.json.clone().flatten()
    }

    /// Fails before the work where the file could not be written after it.
    pub fn check(&self) -> Result<()> {
        Ok(self.json.iter().flatten().try_for_each(|path| check_writable(path, self.force))?)
    }

    /// Prints the JSON, or writes it and prints `text`.
    pub fn finish(&self, value: &Value, text: impl FnOnce() -> String) -> Result<()> {
        match &self.json {
            Some(None) => show::result(true, value),
            Some(Some(path)) => {
                write_atomically(path, self.force, format!("{value:#}\n").as_bytes())?;
                show::print(&text())
            }
            None => show::print(&text()),
        }
    }
}
