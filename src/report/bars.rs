//! Horizontal bars: room for long names, numbers in a column of their own.

use super::axis::{Axis, Scale};
use super::frame::horizontal_axis;
use super::sheet::{Anchor, Key, Paint, Pen, SMALL, Sheet, WIDTH};
use super::text;
use crate::{Error, Result};

/// Grouped horizontal bars with error bars; each value is printed at the right.
///
/// A bar starts at 0. A logarithmic axis has no 0, lengths would mean nothing there: dots are drawn instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    axis: Axis,
    categories: Vec<String>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq)]
struct Group {
    name: String,
    bars: Vec<Bar>,
}

/// One bar: a value and, where it is known, the half length of its error bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    value: f64,
    error: Option<f64>,
}

impl From<f64> for Bar {
    fn from(value: f64) -> Bar {
        Bar { value, error: None }
    }
}

impl Bar {
    /// A value with an error bar over `value ± error`.
    pub fn with_error(value: f64, error: f64) -> Bar {
        Bar { value, error: Some(error) }
    }

    /// The ends of the error bar that can be drawn.
    fn range(&self, axis: &Axis) -> Option<(f64, f64)> {
        let error = self.error.filter(|e| e.is_finite() && *e > 0.0)?;
        let (low, high) = (self.value - error, self.value + error);
        // On a logarithmic axis an error bar that crosses 0 starts at the value itself.
        let low = if axis.draws(low) { low } else { self.value };
        (axis.draws(self.value) && axis.draws(high)).then_some((low, high))
    }

    fn label(&self, decimals: Option<usize>) -> String {
        match (self.error, decimals) {
            (Some(error), _) if error.is_finite() && self.value.is_finite() => text::spread(self.value, error),
            (_, Some(decimals)) => text::aligned(self.value, decimals),
            (_, None) => text::number(self.value),
        }
    }
}

const THICK: f64 = 15.0;
const APART: f64 = 3.0;
const BETWEEN: f64 = 11.0;
/// Between categories where a name takes two lines.
const BETWEEN_TALL: f64 = 18.0;
const LINE: f64 = 13.0;

impl Bars {
    /// Bars along `axis`, one category per name.
    pub fn new(axis: Axis, categories: impl IntoIterator<Item = impl Into<String>>) -> Bars {
        Bars { axis, categories: categories.into_iter().map(Into::into).collect(), groups: Vec::new() }
    }

    /// Adds a series with one bar per category, plain values or [`Bar`]s. NaN stands for a missing value. An empty name
    /// keeps the series out of the legend.
    ///
    /// # Errors
    /// The number of bars is not that of the categories.
    pub fn group(mut self, name: impl Into<String>, bars: impl IntoIterator<Item = impl Into<Bar>>) -> Result<Bars> {
        let (name, bars) = (name.into(), bars.into_iter().map(Into::into).collect::<Vec<Bar>>());
        let categories = self.categories.len();
        if bars.len() != categories {
            return Err(Error::shape("chart of bars", name, format!("{categories} bars"), bars.len()));
        }
        self.groups.push(Group { name, bars });
        Ok(self)
    }

    pub(super) fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::default();
        let entries: Vec<(&str, Key)> =
            self.groups.iter().enumerate().map(|(i, g)| (g.name.as_str(), key(i))).collect();
        sheet.legend(&entries);
        let all = || self.groups.iter().flat_map(|g| &g.bars);
        let left = names_width(&self.categories);
        let decimals = (!self.axis.log).then(|| text::decimals(all().map(|b| b.value)));
        let numbers = all().map(|b| text::width(&b.label(decimals), SMALL)).fold(0.0, f64::max);
        let (from, to) = (left, WIDTH - numbers - 10.0);
        let axis = if self.axis.log { self.axis.clone() } else { self.axis.clone().including(0.0) };
        let drawn = all().filter(|b| axis.draws(b.value));
        let ends = drawn.flat_map(|b| [Some(b.value), b.range(&axis).map(|r| r.0), b.range(&axis).map(|r| r.1)]);
        let scale = axis.scale(ends.flatten(), from, to);
        let top = sheet.bottom + 6.0;
        let step = THICK + APART;
        let tall = self.categories.iter().any(|name| name_lines(name, left).len() > 1);
        let between = if tall { BETWEEN_TALL } else { BETWEEN };
        let category = self.groups.len().max(1) as f64 * step - APART + between;
        let bottom = top + category * self.categories.len() as f64 + 2.0;
        horizontal_axis(&mut sheet, &scale, (from, to), (top, bottom), &axis.label);
        for (i, name) in self.categories.iter().enumerate() {
            let y = top + category * i as f64 + 0.5 * between;
            draw_name(&mut sheet, name, left, y + 0.5 * (category - between));
            for (g, group) in self.groups.iter().enumerate() {
                let y = y + step * g as f64;
                let bar = &group.bars[i];
                draw_bar(&mut sheet, (&axis, &scale), bar, y, g);
                let at = (WIDTH, y + 0.5 * THICK + 4.0);
                sheet.text(&bar.label(decimals), at, SMALL, Paint::Ink, Anchor::End);
            }
        }
        if !axis.log && !self.categories.is_empty() {
            sheet.line((scale.at(0.0), top), (scale.at(0.0), bottom), Pen::new(Paint::Muted, 1.0));
        }
        let skipped = all().filter(|b| !axis.draws(b.value)).count();
        sheet.note_skipped(skipped, all().count(), "values", axis.log);
        sheet
    }
}

fn key(group: usize) -> Key {
    Key::Square(Paint::Series(group), 1.0)
}

fn draw_bar(sheet: &mut Sheet, (axis, scale): (&Axis, &Scale), bar: &Bar, y: f64, group: usize) {
    if !axis.draws(bar.value) {
        return;
    }
    let (paint, at, middle) = (Paint::Series(group), scale.at(bar.value), y + 0.5 * THICK);
    if axis.log {
        sheet.dot((at, middle), 5.0, paint);
    } else {
        let zero = scale.at(0.0);
        sheet.rectangle((at.min(zero), y), ((at - zero).abs(), THICK), paint, 1.0);
    }
    if let Some((low, high)) = bar.range(axis) {
        let (low, high) = (scale.at(low), scale.at(high));
        for (pen, cap) in [(Pen::new(Paint::Paper, 4.0), 4.5), (Pen::new(Paint::Ink, 1.4), 3.5)] {
            // A rim in the colour of the paper sets the error bar off from the bar.
            let rim = cap - 3.5;
            sheet.line((low - rim, middle), (high + rim, middle), pen);
            for end in [low, high] {
                sheet.line((end, middle - cap), (end, middle + cap), pen);
            }
        }
    }
}

/// The width of a column of names, at most two fifths of the sheet, with the gap to its right.
fn names_width(names: &[String]) -> f64 {
    names.iter().map(|n| text::width(&text::clean(n), SMALL)).fold(0.0, f64::max).min(0.4 * WIDTH) + 8.0
}

/// A name in one line or two.
fn name_lines(name: &str, left: f64) -> Vec<String> {
    let lines = text::wrap(name, SMALL, left - 8.0, 2);
    if lines.is_empty() { vec![String::new()] } else { lines }
}

fn draw_name(sheet: &mut Sheet, name: &str, left: f64, middle: f64) {
    let lines = name_lines(name, left);
    let first = middle + 4.0 - 0.5 * LINE * (lines.len() - 1) as f64;
    for (i, line) in lines.iter().enumerate() {
        sheet.text(line, (left - 8.0, first + LINE * i as f64), SMALL, Paint::Ink, Anchor::End);
    }
}

/// Horizontal bars made of parts, as of a quantity that decomposes; the total is printed at the right.
#[derive(Clone, Debug, PartialEq)]
pub struct Stacks {
    axis: Axis,
    parts: Vec<String>,
    rows: Vec<(String, Vec<f64>)>,
}

const TALL: f64 = 26.0;

impl Stacks {
    /// Stacked bars along a linear axis (a logarithmic one is read as linear: lengths add up); names of the parts.
    pub fn new(axis: Axis, parts: impl IntoIterator<Item = impl Into<String>>) -> Stacks {
        let axis = Axis { log: false, ..axis }.including(0.0);
        Stacks { axis, parts: parts.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a bar with one value, 0 or above, per part. Other values are left out, and the chart says so.
    ///
    /// # Errors
    /// The number of values is not that of the parts.
    pub fn row(mut self, name: impl Into<String>, values: impl Into<Vec<f64>>) -> Result<Stacks> {
        let (name, values) = (name.into(), values.into());
        if values.len() != self.parts.len() {
            let expected = format!("{} values", self.parts.len());
            return Err(Error::shape("chart of stacked bars", name, expected, values.len()));
        }
        self.rows.push((name, values));
        Ok(self)
    }

    fn draws(&self, value: f64) -> bool {
        value >= 0.0 && self.axis.draws(value)
    }

    fn total(&self, values: &[f64]) -> f64 {
        values.iter().filter(|v| self.draws(**v)).sum()
    }

    pub(super) fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::default();
        let entries: Vec<(&str, Key)> = self.parts.iter().enumerate().map(|(i, p)| (p.as_str(), key(i))).collect();
        sheet.legend(&entries);
        let totals: Vec<f64> = self.rows.iter().map(|(_, values)| self.total(values)).collect();
        let names: Vec<String> = self.rows.iter().map(|(name, _)| name.clone()).collect();
        let numbers = totals.iter().map(|&t| text::width(&text::number(t), SMALL)).fold(0.0, f64::max);
        let (from, to) = (names_width(&names), WIDTH - numbers - 10.0);
        let scale = self.axis.scale(totals.iter().copied(), from, to);
        let top = sheet.bottom + 6.0;
        let bottom = top + (TALL + BETWEEN) * self.rows.len() as f64 + 2.0;
        horizontal_axis(&mut sheet, &scale, (from, to), (top, bottom), &self.axis.label);
        for (i, (name, values)) in self.rows.iter().enumerate() {
            let y = top + (TALL + BETWEEN) * i as f64 + 0.5 * BETWEEN;
            draw_name(&mut sheet, name, from, y + 0.5 * TALL);
            self.draw_parts(&mut sheet, &scale, values, y);
            let at = (WIDTH, y + 0.5 * TALL + 4.0);
            sheet.text(&text::number(totals[i]), at, SMALL, Paint::Ink, Anchor::End);
        }
        let all = || self.rows.iter().flat_map(|(_, values)| values);
        let skipped = all().filter(|v| !self.draws(**v)).count();
        if skipped > 0 {
            let of = all().count();
            sheet.notes.push(format!("{skipped} of {of} parts left out: not finite, or below 0."));
        }
        sheet
    }

    fn draw_parts(&self, sheet: &mut Sheet, scale: &Scale, values: &[f64], y: f64) {
        let mut sum = 0.0;
        for (i, &value) in values.iter().enumerate().filter(|(_, v)| self.draws(**v)) {
            let start = scale.at(sum);
            sum += value;
            let wide = scale.at(sum) - start;
            // A hairline of paper between parts, where they are wide enough to lose it.
            let gap = if wide > 3.0 { 1.0 } else { 0.0 };
            sheet.rectangle((start, y), (wide - gap, TALL), Paint::Series(i), 1.0);
            let label = text::number(value);
            if text::width(&label, SMALL) + 8.0 <= wide {
                let at = (start + 0.5 * wide, y + 0.5 * TALL + 4.0);
                sheet.text(&label, at, SMALL, Paint::On(i), Anchor::Middle);
            }
        }
    }
}
