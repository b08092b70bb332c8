//! Where the pages of `measure`, `compare` and `calibrate` go.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use realign::io::{check_local, check_writable};
use realign::report::{Page, slug};

use crate::shared::json::JsonArgs;
use crate::shared::outputs::Outputs;

/// Where pictures go.
#[derive(Args)]
pub struct PageArgs {
    /// The result as one self-contained HTML page.
    #[arg(long, value_name = "OUT.html")]
    html: Option<PathBuf>,
    /// Each chart of the page as an SVG file in this folder.
    #[arg(long, value_name = "DIR")]
    svg_dir: Option<PathBuf>,
}

impl PageArgs {
    /// Fails before the work where the page, one of its `charts` (by title) or the JSON could not be written after it.
    pub fn check(&self, charts: &[&str], json: &JsonArgs) -> Result<Outputs> {
        self.svg_dir.iter().try_for_each(|folder| check_local(folder))?;
        let mut files: Vec<PathBuf> = json.file().into_iter().chain(self.html.clone()).collect();
        match &self.svg_dir {
            Some(folder) if folder.exists() => {
                files.extend(charts.iter().map(|title| folder.join(slug(title)).with_extension("svg")));
            }
            Some(folder) => {
                let missing = folder.ancestors().take_while(|a| !a.as_os_str().is_empty() && !a.exists()).last();
                // Checked as a file that could be where the outermost folder will be.
                missing.map_or(Ok(()), |first| check_writable(first, false))?;
            }
            None => {}
        }
        Outputs::check(files, json.force)
    }

    /// Writes what is asked for.
    pub fn write(&self, force: bool, page: impl FnOnce() -> realign::Result<Page>) -> Result<()> {
        if self.html.is_none() && self.svg_dir.is_none() {
            return Ok(());
        }
        let page = page()?;
        self.html.iter().try_for_each(|path| page.write(path, force))?;
        Ok(self.svg_dir.iter().try_for_each(|folder| page.write_svgs(folder, force))?)
    }
}
