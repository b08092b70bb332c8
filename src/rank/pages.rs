//! The page of a comparison of scores.

use serde_json::Value;

use super::compare::{Calibrated, Comparison};
use crate::Result;
use crate::report::{Axis, Bar, Bars, Best, Chart, Column, Lines, Page, Section, Series, Style, Table};

const GAINS: &str = "NDCG at 10";
const SHARES: &str = "Collections among the first ten";
const BEFORE: &str = "Scores before: cosines";
const AFTER: &str = "Scores after: places in the collection";
const CUTOFFS: &str = "What passes a cut-off for 1%";

impl Comparison {
    /// Titles of the charts of [`Comparison::page`], known before anything is compared.
    pub fn charts() -> Vec<&'static str> {
        vec![GAINS, SHARES, BEFORE, AFTER, CUTOFFS]
    }

    /// The comparison as one self-contained page; `inputs` are kept in it as JSON.
    ///
    /// # Errors
    /// None that data can cause.
    pub fn page(&self, inputs: Value) -> Result<Page> {
        let worth = Section::new("What the lists are worth", "Intervals are 95% over queries.")
            .table(self.table()?, "The best of a column is marked.")
            .chart(self.gains()?, "Against the ideal ranking of all graded items.")
            .chart(self.shares()?, "A collection that never comes up is not searched.");
        let scales = Section::new("Scales", "All items of each collection, for some of the queries.")
            .chart(
                densities(BEFORE, "cosine", (&self.collections, &self.cosines), (-1.0, 1.0)),
                "Where the curves lie apart, one collection's items all score above the other's.",
            )
            .chart(
                densities(
                    AFTER,
                    "share of the collection that scores lower",
                    (&self.collections, &self.placed),
                    (0.0, 1.0),
                ),
                "On the common scale every collection is spread evenly: the curves lie on each other at 1.",
            );
        let cutoffs = Section::new("Cut-offs", "Of each collection the share whose score is above a cut-off.")
            .table(
                self.calibration()?,
                "A cut-off is calibrated where what passes is what was asked for, in every collection.",
            )
            .chart(self.cutoffs()?, "Bars at 0.01 are right.");
        let page = Page::new("Mixed search: scores compared", "").section(worth).section(scales).section(cutoffs);
        Ok(page.inputs(inputs))
    }

    fn scores(&self) -> impl Iterator<Item = &'static str> {
        self.scores.iter().map(|line| line.score.name())
    }

    fn table(&self) -> Result<Table> {
        let mut columns = vec![
            Column::new("score"),
            Column::new("NDCG@10").best(Best::Highest),
            Column::new("±"),
            Column::new("recall@10").best(Best::Highest),
            Column::new("±"),
        ];
        columns.extend(self.collections.iter().map(|name| Column::new(format!("{name} in the first ten"))));
        let mut table = Table::new("All scores", columns);
        for line in &self.scores {
            let mut cells = vec![
                Some(line.ndcg.value),
                Some(line.ndcg.half_width),
                Some(line.recall.value),
                Some(line.recall.half_width),
            ];
            cells.extend(line.shares.iter().map(|share| Some(share.value)));
            table = table.row(line.score.name(), cells)?;
        }
        Ok(table)
    }

    fn gains(&self) -> Result<Chart> {
        let bars = self.scores.iter().map(|line| Bar::with_error(line.ndcg.value, line.ndcg.half_width));
        let bars = Bars::new(Axis::linear("NDCG@10").including(1.0), self.scores()).group("", bars)?;
        Ok(Chart::new(GAINS, bars))
    }

    fn shares(&self) -> Result<Chart> {
        let mut bars = Bars::new(Axis::linear("share (0 to 1)").including(1.0), self.scores());
        for (i, name) in self.collections.iter().enumerate() {
            let of = self.scores.iter().map(|line| Bar::with_error(line.shares[i].value, line.shares[i].half_width));
            bars = bars.group(&name[..], of)?;
        }
        Ok(Chart::new(SHARES, bars))
    }

    fn calibration(&self) -> Result<Table> {
        let mut columns = vec![Column::new("score"), Column::new("asked for")];
        for name in &self.collections {
            columns.extend([Column::new(format!("{name} passed")), Column::new("±")]);
        }
        let mut table = Table::new("Cut-offs", columns);
        for line in &self.scores {
            for Calibrated { nominal, passed } in &line.calibration {
                let mut cells = vec![Some(*nominal)];
                cells.extend(passed.iter().flat_map(|p| [Some(p.value), Some(p.half_width)]));
                table = table.row(line.score.name(), cells)?;
            }
        }
        Ok(table)
    }

    fn cutoffs(&self) -> Result<Chart> {
        let lines: Vec<_> = self
            .scores
            .iter()
            .filter_map(|line| Some((line.score.name(), line.calibration.iter().find(|c| c.nominal == 0.01)?)))
            .collect();
        let mut bars = Bars::new(Axis::linear("share that passed").including(0.01), lines.iter().map(|line| line.0));
        for (i, name) in self.collections.iter().enumerate() {
            let of = lines.iter().map(|(_, c)| Bar::with_error(c.passed[i].value, c.passed[i].half_width));
            bars = bars.group(&name[..], of)?;
        }
        Ok(Chart::new(CUTOFFS, bars))
    }
}

/// A curve for each collection, with an area of 1 below it.
fn densities(title: &str, axis: &str, (names, all): (&[String], &[Vec<u64>]), (low, high): (f64, f64)) -> Chart {
    let mut lines = Lines::new(Axis::linear(axis), Axis::linear("density").including(0.0));
    for (colour, (name, bins)) in names.iter().zip(all).enumerate() {
        let total = bins.iter().sum::<u64>().max(1) as f64;
        let step = (high - low) / bins.len().max(1) as f64;
        let point = |(i, n): (usize, &u64)| [low + (i as f64 + 0.5) * step, *n as f64 / total / step];
        let seen = |n: &u64| *n > 0;
        let (first, last) = (bins.iter().position(seen), bins.iter().rposition(seen));
        let (first, last) = (first.unwrap_or(0).saturating_sub(1), last.map_or(0, |at| at + 2).min(bins.len()));
        let points = bins.iter().enumerate().take(last).skip(first).map(point).collect();
        lines = lines.series(Series::new(&name[..], points).style(Style::Area).colour(colour));
    }
    Chart::new(title, lines)
}
