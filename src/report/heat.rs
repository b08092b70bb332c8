//! A small matrix as a table of shaded numbers.

use super::sheet::{Anchor, NORMAL, Paint, SMALL, Sheet, WIDTH};
use super::text;
use crate::{Error, Result};

/// A matrix of up to some 12 × 12 named rows and columns, each cell shaded by its value and printed.
///
/// Values of one sign are shaded from the smallest to the largest magnitude; of both signs, in two colours from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    label: String,
    rows: Vec<String>,
    columns: Vec<String>,
    values: Vec<f64>,
}

const HIGH: f64 = 34.0;

impl HeatMap {
    /// A matrix of `values`, `[rows, columns]` row by row; `label` names them with their unit. NaN and infinite values
    /// are printed, not shaded.
    ///
    /// # Errors
    /// The number of values is not that of the cells.
    pub fn new(
        label: impl Into<String>,
        rows: impl IntoIterator<Item = impl Into<String>>,
        columns: impl IntoIterator<Item = impl Into<String>>,
        values: impl Into<Vec<f64>>,
    ) -> Result<HeatMap> {
        let rows: Vec<String> = rows.into_iter().map(Into::into).collect();
        let columns: Vec<String> = columns.into_iter().map(Into::into).collect();
        let (label, values) = (label.into(), values.into());
        if values.len() != rows.len() * columns.len() {
            let expected = format!("{} × {} values", rows.len(), columns.len());
            return Err(Error::shape("heat map", label, expected, values.len()));
        }
        Ok(HeatMap { label, rows, columns, values })
    }

    pub(super) fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::default();
        sheet.caption(&self.label);
        let widest = self.rows.iter().map(|n| text::width(&text::clean(n), SMALL)).fold(0.0, f64::max);
        let left = widest.min(0.35 * WIDTH) + 8.0;
        let cell = ((WIDTH - left) / self.columns.len().max(1) as f64).min(90.0);
        self.column_names(&mut sheet, left, cell);
        let top = sheet.bottom + 2.0;
        for (i, name) in self.rows.iter().enumerate() {
            let middle = top + HIGH * (i as f64 + 0.5);
            let name = text::fit(name, SMALL, left - 8.0);
            sheet.text(&name, (left - 8.0, middle + 4.0), SMALL, Paint::Ink, Anchor::End);
        }
        let labels = self.labels();
        let size = text_size(&labels, cell);
        let columns = self.columns.len().max(1);
        for (i, &value) in self.values.iter().enumerate() {
            let corner = (left + cell * (i % columns) as f64, top + HIGH * (i / columns) as f64);
            let label = size.map(|size| (labels[i].as_str(), size));
            self.cell(&mut sheet, (value, label), corner, cell);
        }
        sheet.bottom = top + HIGH * self.rows.len() as f64 + 4.0;
        if size.is_none() {
            sheet.notes.push("The cells are too narrow for numbers.".to_string());
        }
        let skipped = self.values.iter().filter(|v| !v.is_finite()).count();
        if skipped > 0 {
            let of = self.values.len();
            sheet.notes.push(format!("{skipped} of {of} values are not finite and not shaded."));
        }
        sheet
    }

    /// Above their columns where there is room, turned upwards where not.
    fn column_names(&self, sheet: &mut Sheet, left: f64, cell: f64) {
        let widest = self.columns.iter().map(|n| text::width(&text::clean(n), SMALL)).fold(0.0, f64::max);
        if widest <= cell - 6.0 {
            sheet.bottom += 16.0;
            for (i, name) in self.columns.iter().enumerate() {
                let at = (left + cell * (i as f64 + 0.5), sheet.bottom);
                sheet.text(name, at, SMALL, Paint::Ink, Anchor::Middle);
            }
        } else {
            let room = widest.min(120.0);
            sheet.bottom += room + 6.0;
            for (i, name) in self.columns.iter().enumerate() {
                let (x, y) = (left + cell * (i as f64 + 0.5) + 4.0, sheet.bottom);
                let name = text::fit(name, SMALL, room);
                let turn = format!("rotate(-90 {x:.2} {y:.2})");
                sheet.text_with(&name, (x, y), SMALL, Paint::Ink, Anchor::Start, |t| t.set("transform", turn));
            }
        }
        sheet.bottom += 4.0;
    }

    fn labels(&self) -> Vec<String> {
        let decimals = text::decimals(self.values.iter().copied()).min(3);
        self.values.iter().map(|&v| text::aligned(v, decimals)).collect()
    }

    fn cell(&self, sheet: &mut Sheet, (value, label): (f64, Option<(&str, f64)>), (x, y): (f64, f64), width: f64) {
        let area = ((width - 2.0).max(0.5), HIGH - 2.0);
        let shade = self.shade(value);
        let (paint, strength) = shade.unwrap_or((Paint::Grid, 0.5));
        sheet.rectangle((x + 1.0, y + 1.0), area, paint, strength);
        if let Some((label, size)) = label {
            let strong = shade.is_some_and(|(_, strength)| strength > 0.6);
            let ink = if strong { Paint::On(if paint == Paint::Series(1) { 1 } else { 0 }) } else { Paint::Ink };
            let at = (x + 0.5 * width, y + 0.5 * HIGH + 4.5);
            sheet.text(label, at, size, ink, Anchor::Middle);
        }
    }

    /// Colour and opacity of a finite value.
    fn shade(&self, value: f64) -> Option<(Paint, f64)> {
        let finite = || self.values.iter().copied().filter(|v| v.is_finite());
        let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if !value.is_finite() {
            return None;
        }
        let paint = Paint::Series(if value < 0.0 { 1 } else { 0 });
        let most = low.abs().max(high.abs());
        let least = if low < 0.0 && high > 0.0 { 0.0 } else { low.abs().min(high.abs()) };
        // Halves, so that the difference of the largest numbers does not overflow.
        let spread = 0.5 * most - 0.5 * least;
        let part = if spread > 0.0 { (0.5 * value.abs() - 0.5 * least) / spread } else { 0.0 };
        Some((paint, 0.08 + 0.84 * part.clamp(0.0, 1.0)))
    }
}

/// The size at which all labels fit a cell, if there is a legible one.
fn text_size(labels: &[String], cell: f64) -> Option<f64> {
    let widest = labels.iter().map(|label| text::width(label, 1.0)).fold(0.0, f64::max);
    [NORMAL, SMALL, 11.0, 10.0, 9.0].into_iter().find(|size| size * widest <= cell - 5.0)
}
