//! The pages of `measure` and `compare`: what was measured, as pictures with a sentence each.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use realign::align::Comparison;
use realign::geometry::density::{Density, grid_point};
use realign::geometry::{Decomposition, Diagnosis, Frame, Spectrum, Survey};
use realign::io::check_writable;
use realign::report::{
    Axis, Bars, Best, Cell, Chart, Cloud, Column, Lines, Page, Scatter, Section, Series, Stacks, Style, Table, number,
};
use serde_json::Value;

const TARGET: usize = 0;
const SOURCE: usize = 1;
const ALIGNED: usize = 2;
const CROSS: usize = 3;
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
    /// Fails before the work where the page could not be written after it.
    pub fn check(&self, force: bool) -> Result<()> {
        Ok(self.html.iter().try_for_each(|path| check_writable(path, force))?)
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

/// What `measure` found.
pub struct Measured<'a> {
    pub source: &'a Survey,
    pub target: &'a Survey,
    pub aligned: Option<&'a Survey>,
    pub before: &'a Diagnosis,
    pub after: Option<&'a Diagnosis>,
    pub frame: Option<&'a Frame>,
    pub pairs: Option<&'a Decomposition>,
}

fn value(v: Option<f64>) -> String {
    v.map_or_else(|| "–".to_owned(), number)
}

/// `measure`'s page.
pub fn measured(m: &Measured<'_>, inputs: Value) -> Result<Page> {
    let now = m.after.unwrap_or(m.before);
    let card = |f: fn(&Diagnosis) -> f64| match m.after {
        Some(_) => format!("before: {}", number(f(m.before))),
        None => String::new(),
    };
    let mut page = Page::new("The modality gap", "Two sets of embeddings in one space, and how far apart they are.")
        .card("gap", number(now.gap), card(|d| d.gap))
        .card("JSD of the cosines", format!("{} bit", number(now.jsd)), card(|d| d.jsd))
        .card("mixing rate", number(now.mixing.rate), "0.5 where the two cannot be told apart");
    if let Some(kept) = now.kept {
        page = page.card("neighbours kept", number(kept.knn_overlap), "of the source's own, after alignment");
    }
    let mut shape = Section::new("Shape", "").chart(
        spectra(&sets(m)),
        "A straight line is a power law; a steeper one (a larger α) means that fewer directions carry the variance.",
    );
    if let Some(frame) = m.frame {
        shape =
            shape.chart(clouds(m, frame)?, "Each point is a row, seen along the two leading directions of both sets.");
    }
    let mut parts = Section::new("Neighbours", "").chart(
        densities(m)?,
        "The closer the curves lie to the target's own, the less a row betrays where it is from.",
    );
    parts = parts.chart(
        mixing(m)?,
        "The share of a row's nearest neighbours that are of the other kind, over what two equal clouds would show: 1 is perfect.",
    );
    page = page.section(shape).section(parts);
    if let Some(pairs) = m.pairs {
        let meaning = "Mean squared length of a pair's difference by part: means inside and outside of the frame, and what varies.";
        page = page.section(Section::new("Pairs", "").chart(decomposition(pairs)?, meaning));
    }
    Ok(page
        .section(Section::new("Numbers", "").table(numbers(m)?, "A dash is undefined for this data."))
        .inputs(inputs))
}

fn sets<'a>(m: &Measured<'a>) -> Vec<(&'static str, &'a Survey, usize)> {
    let mut sets = vec![("target", m.target, TARGET), ("source", m.source, SOURCE)];
    sets.extend(m.aligned.map(|a| ("aligned", a, ALIGNED)));
    sets
}

fn spectra(sets: &[(&str, &Survey, usize)]) -> Chart {
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
    Chart::new("Variance per direction, with fitted power laws", lines)
}

/// The ends of the fitted line: it passes through the mean of the fitted points.
fn fitted(s: &Spectrum) -> Option<Vec<[f64; 2]>> {
    let ((first, last), alpha) = (s.fitted_ranks(), s.alpha()?);
    let last = last.min(s.numerical_rank());
    let points = (first..=last).map(|k| (k as f64).ln() * alpha + s.eigenvalues()[k - 1].ln());
    let level = points.sum::<f64>() / (last + 1).checked_sub(first)? as f64;
    Some([first, last].map(|k| [k as f64, (level - alpha * (k as f64).ln()).exp()]).to_vec())
}

fn densities(m: &Measured<'_>) -> Result<Chart> {
    let d = m.target.width();
    let mut lines = Lines::new(Axis::linear("cosine of a pair"), Axis::linear("density"));
    let mut add = |name: &str, density: Density, colour| {
        let peak = density.weights().iter().fold(0f64, |a, b| a.max(*b));
        let all = density.weights().iter().enumerate().step_by(4);
        let points = all.filter(|(_, w)| **w > 1e-4 * peak).map(|(k, w)| [grid_point(k), w * 1e3]).collect();
        lines = std::mem::replace(&mut lines, Lines::new(Axis::linear(""), Axis::linear("")))
            .series(Series::new(name, points).style(Style::Area).colour(colour));
    };
    for (name, survey, colour) in sets(m) {
        add(&format!("{name} – {name}"), Density::within(survey.sample(), d)?, colour);
    }
    let (name, measured) = m.aligned.map_or(("source", m.source), |a| ("aligned", a));
    add(&format!("target – {name}"), Density::across(m.target.sample(), measured.sample(), d)?, CROSS);
    Ok(Chart::new("Cosines within and between the sets", lines))
}

fn clouds(m: &Measured<'_>, frame: &Frame) -> Result<Chart> {
    let at = |survey: &Survey| -> Result<Vec<[f64; 2]>> {
        let rows = survey.first(DRAWN).chunks_exact(survey.width());
        let point = |row: &[f64]| -> Result<[f64; 2]> {
            let c = frame.coordinates(row)?;
            Ok([c[0], c.get(1).copied().unwrap_or(0.0)])
        };
        rows.map(point).collect()
    };
    let target = Cloud::new("target", at(m.target)?).colour(TARGET);
    let source = Cloud::new("source", at(m.source)?).colour(SOURCE);
    let mut scatter = Scatter::new(Axis::linear("first leading direction"), Axis::linear("second leading direction"))
        .panel("before", vec![target.clone(), source]);
    if let Some(aligned) = m.aligned {
        scatter = scatter.panel("after", vec![target, Cloud::new("aligned", at(aligned)?).colour(ALIGNED)]);
    }
    Ok(Chart::new("The clouds", scatter))
}

fn mixing(m: &Measured<'_>) -> Result<Chart> {
    let of = |d: &Diagnosis| [d.mixing.normalised_target, d.mixing.normalised_source];
    let mut bars =
        Bars::new(Axis::linear("normalised mixing").including(1.0), ["of the target's rows", "of the other's"])
            .group("before", of(m.before))?;
    if let Some(after) = m.after {
        bars = bars.group("after", of(after))?;
    }
    Ok(Chart::new("Neighbours of the other kind", bars))
}

fn decomposition(p: &Decomposition) -> Result<Chart> {
    let parts = ["mean, principal β", "mean, orthogonal γ", "residual, principal δ", "residual, orthogonal ζ"];
    let row = [p.bias.beta_norm.powi(2), p.bias.gamma_norm.powi(2), p.spectrum_u.trace(), p.spectrum_v.trace()];
    let stacks = Stacks::new(Axis::linear("mean squared length"), parts).row("pairs", row)?;
    Ok(Chart::new("What the difference of a pair is made of", stacks))
}

fn numbers(m: &Measured<'_>) -> Result<Table> {
    let mut columns = vec![Column::new("diagnostic"), Column::new("before")];
    columns.extend(m.after.map(|_| Column::new("after")));
    let mut table = Table::new("All diagnostics", columns);
    let after = m.after.map(Diagnosis::entries);
    for (i, (key, before)) in m.before.entries().into_iter().enumerate() {
        let cells = [Some(before), after.as_ref().map(|a| a[i].1)];
        table = table.row(key, cells.into_iter().flatten().map(value).map(Cell::Text))?;
    }
    Ok(table)
}

/// `compare`'s page.
pub fn compared(c: &Comparison, inputs: Value) -> Result<Page> {
    let names = || c.methods.iter().map(|l| l.method.name());
    let each = |f: &dyn Fn(&Diagnosis) -> f64| c.methods.iter().map(|l| f(&l.diagnosis)).collect::<Vec<f64>>();
    let kept = |d: &Diagnosis| d.kept.map_or(f64::NAN, |k| k.knn_overlap);
    let gaps = Bars::new(Axis::log("distance of the means (log)"), names()).group("", each(&|d| d.gap))?;
    let neighbours = Bars::new(Axis::linear("share (0 to 1)").including(1.0), names())
        .group("own neighbours kept", each(&kept))?
        .group("neighbours of the other kind", each(&|d| d.mixing.rate))?;
    let mut sets = vec![("target", &c.target, TARGET), ("source", &c.source, SOURCE)];
    let drawn = c.methods.iter().filter(|l| matches!(l.method.name(), "realign" | "c3" | "blockwise"));
    sets.extend(drawn.enumerate().map(|(i, l)| (l.method.name(), &l.survey, ALIGNED + i)));
    let section = Section::new("Methods", "Fitted on every other row, measured on the rest.")
        .table(table(c)?, "The best of a column is marked: for spectra, the one nearest to the target.")
        .chart(
            Chart::new("Gap left by each method", gaps),
            "On rows that no fit saw; sampling alone leaves some √(T / n).",
        )
        .chart(
            Chart::new("Neighbours", neighbours),
            "A good alignment mixes the sets and keeps each row's own neighbours.",
        )
        .chart(
            spectra(&sets),
            "Noise flattens the spectrum; whitening and colouring replaces it; ReAlign keeps the source's.",
        );
    Ok(Page::new("Alignment methods compared", "").section(section).inputs(inputs))
}

fn table(c: &Comparison) -> Result<Table> {
    let x = c.target.spectrum();
    let near = |name: &str, v: Option<f64>| Column::new(name).best(v.map_or(Best::Unmarked, Best::Nearest));
    let columns = [
        Column::new("method"),
        Column::new("gap").best(Best::Lowest),
        near("trace", Some(x.trace())),
        near("α", x.alpha()),
        near("effective rank", Some(x.effective_rank())),
        near("κ", x.kappa()),
        Column::new("JSD (bit)").best(Best::Lowest),
        Column::new("mixing").best(Best::Highest),
        Column::new("neighbours kept").best(Best::Highest),
        Column::new("Φ").best(Best::Highest),
        Column::new("Ψ").best(Best::Highest),
        Column::new("seconds"),
    ];
    let mut table = Table::new("All methods", columns);
    for line in &c.methods {
        let (d, kept) = (&line.diagnosis, line.diagnosis.kept);
        let cells = [
            Some(d.gap),
            Some(d.source.trace),
            d.source.alpha,
            Some(d.source.effective_rank),
            d.source.kappa,
            Some(d.jsd),
            Some(d.mixing.rate),
            kept.map(|k| k.knn_overlap),
            kept.map(|k| k.phi),
            kept.and_then(|k| k.psi),
            Some((line.fit_time + line.apply_time).as_secs_f64()),
        ];
        // The source itself keeps everything: it sets no record.
        table = match line.method.name() {
            "none" => table.reference("none", cells)?,
            name => table.row(name, cells)?,
        };
    }
    Ok(table)
}
