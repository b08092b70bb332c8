//! The page of a comparison: all methods side by side.

use serde_json::Value;

use crate::Result;
use crate::align::{Compared, Comparison, Method};
use crate::geometry::Diagnosis;
use crate::geometry::pages::{self, ALIGNED, CLOUDS, DENSITIES, PARTS, SOURCE, SPECTRA, Set, TARGET};
use crate::report::{Axis, Bars, Best, Chart, Column, Page, Section, Table};

const GAPS: &str = "Gap left by each method";
const NEIGHBOURS: &str = "Neighbours";
const TABLE: &str = "The best of a column is marked: for spectra, the one nearest to the target. Rows in italics are not judged: the source as it is, and methods that move the \
                     target, too, and are measured against what it became.";

impl Comparison {
    /// Titles of the charts of [`Comparison::page`], known before anything is compared.
    pub fn charts(paired: bool) -> Vec<&'static str> {
        let mut titles = vec![GAPS, NEIGHBOURS, SPECTRA, DENSITIES, CLOUDS];
        titles.extend(paired.then_some(PARTS));
        titles
    }

    /// The comparison as one self-contained page; `inputs` are kept in it as JSON.
    ///
    /// # Errors
    /// None that data can cause.
    pub fn page(&self, inputs: Value) -> Result<Page> {
        page(self, inputs)
    }
}

fn page(c: &Comparison, inputs: Value) -> Result<Page> {
    let drawn: Vec<Set<'_>> = drawn(c).map(|l| (l.method.name(), &l.survey, colour(l.method))).collect();
    let mut sets = vec![("target", &c.target, TARGET), ("source", &c.source, SOURCE)];
    sets.extend(&drawn);
    let numbers = Section::new("Methods", "Fitted on every other row, measured on the rest.")
        .table(table(c)?, TABLE)
        .chart(gaps(c)?, "On rows that no fit saw; sampling alone leaves some √(T / n).")
        .chart(neighbours(c)?, "A good alignment mixes the sets and keeps each row's own neighbours.");
    let mut shape = Section::new("Shape", "")
        .chart(
            pages::spectra(&sets),
            "Noise flattens the spectrum; whitening and colouring replaces it; ReAlign keeps the source's.",
        )
        .chart(
            pages::densities(&sets, None)?,
            "How similar rows of one set are to each other: the closer to the target's curve, the more alike the sets are.",
        );
    if let Some(frame) = &c.frame {
        let before = ("before", ("source", &c.source, SOURCE));
        let panels: Vec<_> = std::iter::once(before).chain(drawn.iter().map(|set| (set.0, *set))).collect();
        shape = shape.chart(
            pages::clouds(&c.target, &panels, frame)?,
            "Each point is a held-out row, seen along the two leading directions of both sets.",
        );
    }
    let mut page = Page::new("Alignment methods compared", "").section(numbers).section(shape);
    let pairs: Vec<_> = c.methods.iter().filter_map(|l| Some((l.method.name(), l.pairs.as_ref()?))).collect();
    if !pairs.is_empty() {
        page = page.section(Section::new("Pairs", "").chart(pages::parts(pairs)?, pages::PARTS_MEANING));
    }
    Ok(page.inputs(inputs))
}

/// The methods that are drawn beside each other; all would be too many.
fn drawn(c: &Comparison) -> impl Iterator<Item = &Compared> {
    c.methods
        .iter()
        .filter(|l| matches!(l.method, Method::ReAlign | Method::C3 | Method::Blockwise | Method::OptimalTransport))
}

/// Colours that can be told apart, and from those of source and target.
fn colour(method: Method) -> usize {
    match method {
        Method::C3 => 3,
        Method::Blockwise => 5,
        Method::OptimalTransport => 4,
        _ => ALIGNED,
    }
}

fn names(c: &Comparison) -> impl Iterator<Item = &'static str> {
    c.methods.iter().map(|l| l.method.name())
}

fn each(c: &Comparison, f: impl Fn(&Diagnosis) -> f64) -> Vec<f64> {
    c.methods.iter().map(|l| f(&l.diagnosis)).collect()
}

fn gaps(c: &Comparison) -> Result<Chart> {
    let bars = Bars::new(Axis::log("distance of the means (log)"), names(c)).group("", each(c, |d| d.gap))?;
    Ok(Chart::new(GAPS, bars))
}

fn neighbours(c: &Comparison) -> Result<Chart> {
    let kept = |d: &Diagnosis| d.kept.map_or(f64::NAN, |k| k.knn_overlap);
    let bars = Bars::new(Axis::linear("share (0 to 1)").including(1.0), names(c))
        .group("own neighbours kept", each(c, kept))?
        .group("neighbours of the other kind", each(c, |d| d.mixing.rate))?;
    Ok(Chart::new(NEIGHBOURS, bars))
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
        Column::new("Fréchet² of means").best(Best::Lowest),
        Column::new("Fréchet² of shapes").best(Best::Lowest),
        Column::new("sliced Wasserstein").best(Best::Lowest),
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
            Some(d.frechet.mean),
            Some(d.frechet.covariance),
            Some(d.sliced_wasserstein),
            Some(d.jsd),
            Some(d.mixing.rate),
            kept.map(|k| k.knn_overlap),
            kept.map(|k| k.phi),
            kept.and_then(|k| k.psi),
            Some((line.fit_time + line.apply_time).as_secs_f64()),
        ];
        // The source itself keeps everything, and a method that moves the target aims at another cloud: they set no record.
        let name = line.method.name();
        let aside = line.method == Method::None || line.target.is_some();
        table = if aside { table.reference(name, cells)? } else { table.row(name, cells)? };
    }
    Ok(table)
}
