//! `measure`'s page: what was measured, as pictures with a sentence each.

use anyhow::Result;
use realign::geometry::{Decomposition, Diagnosis, Frame, Survey};
use realign::report::{Axis, Bars, Cell, Chart, Column, Page, Section, Table, number};
use serde_json::Value;

use crate::geometry::pages::{self, ALIGNED, CLOUDS, DENSITIES, PARTS, SOURCE, SPECTRA, Set, TARGET, value};

const MIXING: &str = "Neighbours of the other kind";

/// What `measure` found.
pub struct Measured<'a> {
    pub source: &'a Survey,
    pub target: &'a Survey,
    pub aligned: Option<&'a Survey>,
    pub before: &'a Diagnosis,
    pub after: Option<&'a Diagnosis>,
    pub frame: Option<&'a Frame>,
    /// Of source and target, and of what was aligned and target.
    pub pairs: Option<(&'a Decomposition, Option<&'a Decomposition>)>,
}

/// Titles of the charts.
pub fn charts(paired: bool) -> Vec<&'static str> {
    let mut titles = vec![SPECTRA, CLOUDS, DENSITIES, MIXING];
    titles.extend(paired.then_some(PARTS));
    titles
}

pub fn page(m: &Measured<'_>, inputs: Value) -> Result<Page> {
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
    let sets = sets(m);
    let measured = sets[sets.len() - 1];
    let mut shape = Section::new("Shape", "").chart(
        pages::spectra(&sets),
        "A straight line is a power law; a steeper one (a larger α) means that fewer directions carry the variance.",
    );
    if let Some(frame) = m.frame {
        let before = ("before", ("source", m.source, SOURCE));
        let after = m.aligned.map(|a| ("after", ("aligned", a, ALIGNED)));
        let panels: Vec<_> = [Some(before), after].into_iter().flatten().collect();
        shape = shape.chart(
            pages::clouds(m.target, &panels, frame)?,
            "Each point is a row, seen along the two leading directions of both sets.",
        );
    }
    let neighbours = Section::new("Neighbours", "")
        .chart(
            pages::densities(&sets, Some((m.target, measured)))?,
            "The closer the curves lie to the target's own, the less a row betrays where it is from.",
        )
        .chart(
            mixing(m)?,
            "The share of a row's nearest neighbours that are of the other kind, over what two equal clouds would show: 1 is perfect.",
        );
    page = page.section(shape).section(neighbours);
    if let Some((before, after)) = m.pairs {
        let rows = std::iter::once(("before", before)).chain(after.map(|a| ("after", a)));
        page = page.section(Section::new("Pairs", "").chart(pages::parts(rows)?, pages::PARTS_MEANING));
    }
    Ok(page
        .section(Section::new("Numbers", "").table(numbers(m)?, "A dash is undefined for this data."))
        .inputs(inputs))
}

fn sets<'a>(m: &Measured<'a>) -> Vec<Set<'a>> {
    let mut sets = vec![("target", m.target, TARGET), ("source", m.source, SOURCE)];
    sets.extend(m.aligned.map(|a| ("aligned", a, ALIGNED)));
    sets
}

fn mixing(m: &Measured<'_>) -> Result<Chart> {
    let of = |d: &Diagnosis| [d.mixing.normalised_target, d.mixing.normalised_source];
    let mut bars =
        Bars::new(Axis::linear("normalised mixing").including(1.0), ["of the target's rows", "of the other's"])
            .group("before", of(m.before))?;
    if let Some(after) = m.after {
        bars = bars.group("after", of(after))?;
    }
    Ok(Chart::new(MIXING, bars))
}

/// Names and values.
type Entries = Vec<(&'static str, Option<f64>)>;

/// A diagnostic's name, its value before, and, where something was aligned, after.
pub type Row = (&'static str, Option<f64>, Option<Option<f64>>);

/// Every diagnostic, those of pairs last.
pub fn rows(m: &Measured<'_>) -> Vec<Row> {
    let beside = |before: Entries, after: Option<Entries>| -> Vec<Row> {
        let before = before.into_iter().enumerate();
        before.map(|(i, (key, v))| (key, v, after.as_ref().map(|a| a[i].1))).collect()
    };
    let mut all = beside(m.before.entries(), m.after.map(Diagnosis::entries));
    if let Some((before, after)) = m.pairs {
        all.extend(beside(before.entries(), after.map(Decomposition::entries)));
    }
    all
}

fn numbers(m: &Measured<'_>) -> Result<Table> {
    let mut columns = vec![Column::new("diagnostic"), Column::new("before")];
    columns.extend(m.after.map(|_| Column::new("after")));
    let mut table = Table::new("All diagnostics", columns);
    for (key, before, after) in rows(m) {
        let cells = [Some(before), after];
        table = table.row(key, cells.into_iter().flatten().map(value).map(Cell::Text))?;
    }
    Ok(table)
}
