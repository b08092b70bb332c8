//! Pages of what geometry measures: the pictures of sets that they share, and the page of a [`Measurement`].

mod measure;

use super::density::{Density, grid_point};
use super::{Decomposition, Frame, Spectrum, Survey};
use crate::Result;
use crate::report::{Axis, Chart, Cloud, Lines, Scatter, Series, Stacks, Style, number};

pub(crate) const TARGET: usize = 0;
pub(crate) const SOURCE: usize = 1;
pub(crate) const ALIGNED: usize = 2;
const CROSS: usize = 3;

pub(crate) const SPECTRA: &str = "Variance per direction, with fitted power laws";
pub(crate) const CLOUDS: &str = "The clouds";
pub(crate) const DENSITIES: &str = "Cosines within and between the sets";
pub(crate) const PARTS: &str = "What the difference of a pair is made of";

/// Points of a cloud that are drawn.
const DRAWN: usize = 1000;

/// A number, or a dash for what the data leaves undefined.
pub(crate) fn value(v: Option<f64>) -> String {
    v.map_or_else(|| "–".to_owned(), number)
}

/// A set with its name and its colour.
pub(crate) type Set<'a> = (&'a str, &'a Survey, usize);

pub(crate) fn spectra(sets: &[Set<'_>]) -> Chart {
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
pub(crate) fn densities(sets: &[Set<'_>], across: Option<(&Survey, Set<'_>)>) -> Result<Chart> {
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
pub(crate) fn clouds(target: &Survey, others: &[(&str, Set<'_>)], frame: &Frame) -> Result<Chart> {
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

pub(crate) const PARTS_MEANING: &str = "Mean squared length of a pair's difference by part: means inside and outside of the frame, and what varies. \
     Alignment can remove the means; what varies stays.";

/// A stack for each of the named decompositions.
pub(crate) fn parts<'a>(rows: impl IntoIterator<Item = (&'a str, &'a Decomposition)>) -> Result<Chart> {
    let names = ["mean, principal β", "mean, orthogonal γ", "residual, principal δ", "residual, orthogonal ζ"];
    let mut stacks = Stacks::new(Axis::linear("mean squared length"), names);
    for (name, p) in rows {
        let squares = [p.bias.beta_norm.powi(2), p.bias.gamma_norm.powi(2), p.spectrum_u.trace(), p.spectrum_v.trace()];
        stacks = stacks.row(name, squares)?;
    }
    Ok(Chart::new(PARTS, stacks))
}
