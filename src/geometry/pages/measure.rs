//! The page of a measurement: what was measured, as pictures with a sentence each.

use serde_json::Value;

use super::{ALIGNED, CLOUDS, DENSITIES, PARTS, SOURCE, SPECTRA, Set, TARGET, value};
use crate::Result;
use crate::geometry::{Diagnosis, Measurement};
use crate::report::{Axis, Bars, Cell, Chart, Column, Page, Section, Table, number};

const MIXING: &str = "Neighbours of the other kind";

impl Measurement {
    /// Titles of the charts of [`Measurement::page`], known before anything is measured.
    pub fn charts(paired: bool) -> Vec<&'static str> {
        let mut titles = vec![SPECTRA, CLOUDS, DENSITIES, MIXING];
        titles.extend(paired.then_some(PARTS));
        titles
    }

    /// The measurement as one self-contained page; `inputs` are kept in it as JSON.
    ///
    /// # Errors
    /// None that data can cause.
    pub fn page(&self, inputs: Value) -> Result<Page> {
        page(self, inputs)
    }
}

fn page(m: &Measurement, inputs: Value) -> Result<Page> {
    let now = m.now();
    let card = |f: fn(&Diagnosis) -> f64| match m.after {
        Some(_) => format!("before: {}", number(f(&m.before))),
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
        super::spectra(&sets),
        "A straight line is a power law; a steeper one (a larger α) means that fewer directions carry the variance.",
    );
    if let Some(frame) = &m.frame {
        let before = ("before", ("source", &m.source, SOURCE));
        let after = m.aligned.as_ref().map(|a| ("after", ("aligned", a, ALIGNED)));
        let panels: Vec<_> = [Some(before), after].into_iter().flatten().collect();
        shape = shape.chart(
            super::clouds(&m.target, &panels, frame)?,
            "Each point is a row, seen along the two leading directions of both sets.",
        );
    }
    let neighbours = Section::new("Neighbours", "")
        .chart(
            super::densities(&sets, Some((&m.target, measured)))?,
            "The closer the curves lie to the target's own, the less a row betrays where it is from.",
        )
        .chart(
            mixing(m)?,
            "The share of a row's nearest neighbours that are of the other kind, over what two equal clouds would show: 1 is perfect.",
        );
    page = page.section(shape).section(neighbours);
    if let Some(pairs) = &m.pairs {
        let rows = std::iter::once(("before", &pairs.before)).chain(pairs.after.as_ref().map(|a| ("after", a)));
        page = page.section(Section::new("Pairs", "").chart(super::parts(rows)?, super::PARTS_MEANING));
    }
    Ok(page
        .section(Section::new("Numbers", "").table(numbers(m)?, "A dash is undefined for this data."))
        .inputs(inputs))
}

fn sets<'a>(m: &'a Measurement) -> Vec<Set<'a>> {
    let mut sets = vec![("target", &m.target, TARGET), ("source", &m.source, SOURCE)];
    sets.extend(m.aligned.as_ref().map(|a| ("aligned", a, ALIGNED)));
    sets
}

fn mixing(m: &Measurement) -> Result<Chart> {
    let of = |d: &Diagnosis| [d.mixing.normalised_target, d.mixing.normalised_source];
    let mut bars =
        Bars::new(Axis::linear("normalised mixing").including(1.0), ["of the target's rows", "of the other's"])
            .group("before", of(&m.before))?;
    if let Some(after) = &m.after {
        bars = bars.group("after", of(after))?;
    }
    Ok(Chart::new(MIXING, bars))
}

fn numbers(m: &Measurement) -> Result<Table> {
    let mut columns = vec![Column::new("diagnostic"), Column::new("before")];
    columns.extend(m.after.as_ref().map(|_| Column::new("after")));
    let mut table = Table::new("All diagnostics", columns);
    for row in m.rows() {
        let cells = [Some(row.before), row.after];
        table = table.row(row.name, cells.into_iter().flatten().map(value).map(Cell::Text))?;
    }
    Ok(table)
}
