//! What the pages of `measure`, `compare` and `calibrate` share: where they go, and the pictures of sets.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use realign::geometry::density::{Density, grid_point};
use realign::geometry::{Decomposition, Frame, Spectrum, Survey};
use realign::io::check_writable;
use realign::report::{Axis, Chart, Cloud, Lines, Page, Scatter, Series, Stacks, Style, number, slug};

use crate::geometry::args::JsonArgs;
use crate::outputs::Outputs;

pub const TARGET: usize = 0;
pub const SOURCE: usize = 1;
pub const ALIGNED: usize = 2;
const CROSS: usize = 3;

pub const SPECTRA: &str = "Variance per direction, with fitted power laws";
pub const CLOUDS: &str = "The clouds";
pub const DENSITIES: &str = "Cosines within and between the sets";
pub const PARTS: &str = "What the difference of a pair is made of";

/// Points of a cloud that are drawn.
const DRAWN: usize = 1000;

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
    pub fn write(&self, force: bool, page: impl FnOnce() -> Result<Page>) -> Result<()> {
        if self.html.is_none() && self.svg_dir.is_none() {
            return Ok(());
        }
        let page = page()?;
        self.html.iter().try_for_each(|path| page.write(path, force))?;
        Ok(self.svg_dir.iter().try_for_each(|folder| page.write_svgs(folder, force))?)
    }
}

/// A number, or a dash for what the data leaves undefined.
pub fn value(v: Option<f64>) -> String {
    v.map_or_else(|| "–".to_owned(), number)
}

/// A set with its name and its colour.
pub type Set<'a> = (&'a str, &'a Survey, usize);

pub fn spectra(sets: &[Set<'_>]) -> Chart {
    let mut lines = Lines::new(Axis::log("direction, by variance"), Axis::log("variance"));
    for (name, survey, colour) in sets {
        let s = survey.spectrum();
        let shown = &s.eigenvalues()[..s.numerical_rank()];
        let alpha = s.alpha().map_or_else(String::new, |a| format!(", α = {a:.2}"));
        lines = lines.series(Series::ranked(format!("{name}{alpha}"), shown).colour(*colour));
        if let Some(fit) = fitted(s) {
            lines = lines.series(Series::new("", fit).style(Style::Fit));
        }
    }
    Chart::new(SPECTRA, lines)
}

/// The ends of the fitted line: it passes through the mean of the fitted points.
fn fitted(s: &Spectrum) -> Option<Vec<[f64; 2]>> {
    let ((first, last), alpha) = (s.fitted_ranks(), s.alpha()?);
    let last = last.min(s.numerical_rank());
    let points = (first..=last).map(|k| (k as f64).ln() * alpha + s.eigenvalues()[k - 1].ln());
    let level = points.sum::<f64>() / (last + 1).checked_sub(first)? as f64;
    Some([first, last].map(|k| [k as f64, (level - alpha * (k as f64).ln()).exp()]).to_vec())
}

/// The cosines within each set, and, where asked for, between the target and one of them.
pub fn densities(sets: &[Set<'_>], across: Option<(&Survey, Set<'_>)>) -> Result<Chart> {
    let mut lines = Lines::new(Axis::linear("cosine of a pair"), Axis::linear("density"));
    for (name, survey, colour) in sets {
        let density = Density::within(survey.sample(), survey.width())?;
        lines = lines.series(curve(format!("{name} – {name}"), &density, *colour));
    }
    if let Some((target, (name, survey, _))) = across {
        let density = Density::across(target.sample(), survey.sample(), survey.width())?;
        lines = lines.series(curve(format!("target – {name}"), &density, CROSS));
    }
    Ok(Chart::new(DENSITIES, lines))
}

fn curve(name: String, density: &Density, colour: usize) -> Series {
    let peak = density.weights().iter().fold(0f64, |a, b| a.max(*b));
    let all = density.weights().iter().enumerate().step_by(4);
    // In units of one cosine: the grid's step is 1e-3.
    let points = all.filter(|(_, w)| **w > 1e-4 * peak).map(|(k, w)| [grid_point(k), w * 1e3]).collect();
    Series::new(name, points).style(Style::Area).colour(colour)
}

/// A panel for each of `others`, which share the target.
pub fn clouds(target: &Survey, others: &[(&str, Set<'_>)], frame: &Frame) -> Result<Chart> {
    let at = |survey: &Survey| -> Result<Vec<[f64; 2]>> {
        let rows = survey.first(DRAWN).chunks_exact(survey.width());
        let point = |row: &[f64]| -> Result<[f64; 2]> {
            let c = frame.coordinates(row)?;
            Ok([c[0], c.get(1).copied().unwrap_or(0.0)])
        };
        rows.map(point).collect()
    };
    let fixed = Cloud::new("target", at(target)?).colour(TARGET);
    let mut scatter = Scatter::new(Axis::linear("first leading direction"), Axis::linear("second leading direction"));
    for (title, (name, survey, colour)) in others {
        let cloud = Cloud::new(*name, at(survey)?).colour(*colour);
        scatter = scatter.panel(*title, vec![fixed.clone(), cloud]);
    }
    Ok(Chart::new(CLOUDS, scatter))
}

pub const PARTS_MEANING: &str = "Mean squared length of a pair's difference by part: means inside and outside of the frame, and what varies. \
     Alignment can remove the means; what varies stays.";

/// A stack for each of the named decompositions.
pub fn parts<'a>(rows: impl IntoIterator<Item = (&'a str, &'a Decomposition)>) -> Result<Chart> {
    let names = ["mean, principal β", "mean, orthogonal γ", "residual, principal δ", "residual, orthogonal ζ"];
    let mut stacks = Stacks::new(Axis::linear("mean squared length"), names);
    for (name, p) in rows {
        let squares = [p.bias.beta_norm.powi(2), p.bias.gamma_norm.powi(2), p.spectrum_u.trace(), p.spectrum_v.trace()];
        stacks = stacks.row(name, squares)?;
    }
    Ok(Chart::new(PARTS, stacks))
}
