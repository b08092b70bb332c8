//! The page of a calibration: how many rows, which domains, and is it still valid.

use serde_json::Value;

use crate::Result;
use crate::align::{Calibration, SizeResult, Transfer};
use crate::geometry::pages::value;
use crate::report::{Axis, Cell, Chart, Column, HeatMap, Lines, Page, Section, Series, Style, Table, number};

const SIZES: &str = "Gap on held-out rows by rows fitted on";
const TRANSFER: &str = "Gap left on each domain";

impl Calibration {
    /// Titles of the charts of [`Calibration::page`] for a study of sizes, of transfer between domains, or both.
    pub fn charts(sizes: bool, transfer: bool) -> Vec<&'static str> {
        [sizes.then_some(SIZES), transfer.then_some(TRANSFER)].into_iter().flatten().collect()
    }

    /// The calibration as one self-contained page, with a verdict at this `significance` (0 to 1) where it has a drift check;
    /// `inputs` are kept in it as JSON.
    ///
    /// # Errors
    /// A transfer matrix of another size than its domains.
    pub fn page(&self, significance: f64, inputs: Value) -> Result<Page> {
        page(self, significance, inputs)
    }
}

fn page(c: &Calibration, significance: f64, inputs: Value) -> Result<Page> {
    let mut page = Page::new("Calibration", "How far a fit carries: to more rows, to other domains, to newer data.");
    if let Some(r) = &c.drift {
        let verdict = if r.recalibrate(significance) { "fit again" } else { "still valid" };
        page = page
            .card("the stored fit", verdict, format!("at a significance of {}", number(significance)))
            .card("p-value", number(r.p_value), "how often a batch that has not moved looks like this")
            .card("the mean moved by", number(r.drift), format!("from {} rows", r.rows));
    }
    if !c.sizes.is_empty() {
        let section = Section::new("Rows", "Each size is tried several times, with other rows.")
            .chart(
                sizes(&c.sizes),
                "More rows than where the line levels off are of no use to a fit; a dot is one trial.",
            )
            .table(sizes_table(&c.sizes)?, "A dash: a spread needs two trials.");
        page = page.section(section);
    }
    if let Some(Transfer { domains: names, gaps }) = &c.transfer {
        let values: Vec<f64> = gaps.iter().flatten().copied().collect();
        let map = HeatMap::new("gap", names.iter().map(|n| format!("fitted on {n}")), names.clone(), values)?;
        let meaning = "A fit serves its own domain best (the diagonal); where a row's other cells are much darker, fit that domain by itself.";
        page = page.section(Section::new("Domains", "").chart(Chart::new(TRANSFER, map), meaning));
    }
    Ok(page.inputs(inputs))
}

fn sizes(table: &[SizeResult]) -> Chart {
    let mean = table.iter().map(|s| [s.rows as f64, s.mean()]).collect();
    let trials = table.iter().flat_map(|s| s.gaps.iter().map(|&g| [s.rows as f64, g])).collect();
    let lines = Lines::new(Axis::log("rows fitted on, of each side"), Axis::log("gap on held-out rows"))
        .series(Series::new("trials", trials).style(Style::Dots).colour(1))
        .series(Series::new("mean", mean).colour(0));
    Chart::new(SIZES, lines)
}

fn sizes_table(table: &[SizeResult]) -> Result<Table> {
    let columns = ["rows", "gap", "sd", "trials"].map(Column::new);
    let mut out = Table::new("All sizes", columns);
    for s in table {
        let cells = [number(s.mean()), value(s.deviation()), s.gaps.len().to_string()];
        out = out.row(s.rows.to_string(), cells.map(Cell::Text))?;
    }
    Ok(out)
}
