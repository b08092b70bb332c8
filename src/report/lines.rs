//! Lines: spectra with their fits, densities, training curves.

use super::axis::Axis;
use super::frame::{Frame, Height, frame};
use super::sheet::{Key, Paint, Pen, Sheet};

/// Series of points on two axes, as lines, dots or filled curves.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    x: Axis,
    y: Axis,
    series: Vec<Series>,
}

/// One series of a [`Lines`] chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    name: String,
    points: Vec<[f64; 2]>,
    style: Style,
    colour: Option<usize>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line; it breaks at values that cannot be drawn.
    Line,
    /// A thin pale line, for raw values behind a smoothed one.
    Faint,
    /// A dashed line, for a fit laid over the data.
    Fit,
    /// A line above a filled area down to 0 (or to the axis' end where 0 is not on it), for densities.
    Area,
    /// A dot per point.
    Dots,
}

impl Series {
    /// A solid line through `points`, each `[x, y]`. An empty name keeps the series out of the legend.
    pub fn new(name: impl Into<String>, points: Vec<[f64; 2]>) -> Series {
        Series { name: name.into(), points, style: Style::Line, colour: None }
    }

    /// The values at 1, 2, 3, …, as of a spectrum.
    pub fn ranked(name: impl Into<String>, values: &[f64]) -> Series {
        Series::new(name, values.iter().enumerate().map(|(i, &v)| [(i + 1) as f64, v]).collect())
    }

    /// Draws the series in that style.
    pub fn style(mut self, style: Style) -> Series {
        self.style = style;
        self
    }

    /// Takes that colour of the palette (from 0, six in all, repeating) instead of the one of the series' position,
    /// so that the same thing has the same colour in every chart. A fit is drawn in the colour of text otherwise.
    pub fn colour(mut self, colour: usize) -> Series {
        self.colour = Some(colour);
        self
    }
}

impl Lines {
    /// A chart without series.
    pub fn new(x: Axis, y: Axis) -> Lines {
        Lines { x, y, series: Vec::new() }
    }

    /// Adds a series; later ones are drawn over earlier ones.
    pub fn series(mut self, series: Series) -> Lines {
        self.series.push(series);
        self
    }

    pub(super) fn sheet(&self) -> Sheet {
        let mut sheet = Sheet::default();
        let pens = self.pens();
        let entries: Vec<(&str, Key)> =
            self.series.iter().zip(&pens).map(|(s, &pen)| (s.name.as_str(), key(s.style, pen))).collect();
        sheet.legend(&entries);
        let y = if self.series.iter().any(|s| s.style == Style::Area) && !self.y.log {
            self.y.clone().including(0.0)
        } else {
            self.y.clone()
        };
        let points = || self.series.iter().flat_map(|s| &s.points).filter(|p| self.x.draws(p[0]) && y.draws(p[1]));
        let scales = (self.x.scale(points().map(|p| p[0]), 0.0, 1.0), y.scale(points().map(|p| p[1]), 0.0, 1.0));
        let frame = frame(&mut sheet, (&self.x, &y), scales, Height::Fixed(250.0));
        for (series, &pen) in self.series.iter().zip(&pens) {
            self.draw(&mut sheet, &frame, series, pen);
        }
        let all = self.series.iter().map(|s| s.points.len()).sum();
        sheet.note_skipped(all - points().count(), all, "points", self.x.log || self.y.log);
        sheet
    }

    fn pens(&self) -> Vec<Pen> {
        let mut fits = 0;
        let pen = |(position, series): (usize, &Series)| {
            let pen = Pen::new(Paint::Series(series.colour.unwrap_or(position)), 2.0);
            match series.style {
                Style::Fit => {
                    // Fits without a colour of their own are told apart by their dashes.
                    let paint = series.colour.map_or(Paint::Ink, Paint::Series);
                    fits += 1;
                    Pen { dash: Some(["1 5", "7 5", "7 4 1 4"][(fits - 1) % 3]), paint, ..pen }
                }
                Style::Faint => Pen { width: 1.0, opacity: 0.45, ..pen },
                Style::Line | Style::Area | Style::Dots => pen,
            }
        };
        self.series.iter().enumerate().map(pen).collect()
    }

    fn draw(&self, sheet: &mut Sheet, frame: &Frame, series: &Series, pen: Pen) {
        let place = |p: &[f64; 2]| (frame.x.at(p[0]), frame.y.at(p[1]));
        let drawn = |p: &[f64; 2]| self.x.draws(p[0]) && self.y.draws(p[1]);
        let runs: Vec<Vec<(f64, f64)>> = series
            .points
            .split(|p| !drawn(p))
            .filter(|run| !run.is_empty())
            .map(|run| decimated(run.iter().map(place).collect()))
            .collect();
        match series.style {
            Style::Dots => runs.iter().for_each(|run| sheet.dots(run, 2.5, pen.paint, 0.8)),
            Style::Area => {
                let base = if self.y.log { frame.bottom } else { frame.y.at(0.0) };
                sheet.areas(&runs, base, pen.paint, 0.18);
                sheet.polylines(&runs, pen);
            }
            Style::Line | Style::Faint | Style::Fit => sheet.polylines(&runs, pen),
        }
    }
}

fn key(style: Style, pen: Pen) -> Key {
    match style {
        Style::Dots => Key::Dot(pen.paint),
        _ => Key::Line(pen),
    }
}

/// The same picture from fewer points: of every half pixel's run, the first, the lowest, the highest and the last.
///
/// Only runs that go from left to right are thinned, and only where there are many points.
fn decimated(run: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    const MANY: usize = 1500;
    if run.len() <= MANY || run.windows(2).any(|w| w[1].0 < w[0].0) {
        return run;
    }
    let column = |p: &(f64, f64)| (2.0 * p.0).floor();
    let mut kept = Vec::new();
    for same in run.chunk_by(|a, b| column(a) == column(b)) {
        let by_height = |a: &usize, b: &usize| same[*a].1.total_cmp(&same[*b].1);
        let lowest = (0..same.len()).min_by(by_height).unwrap_or(0);
        let highest = (0..same.len()).max_by(by_height).unwrap_or(0);
        let mut chosen = [0, lowest, highest, same.len() - 1];
        chosen.sort_unstable();
        kept.extend(chosen.iter().enumerate().filter(|&(i, c)| i == 0 || chosen[i - 1] != *c).map(|(_, &c)| same[c]));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_ends_and_extremes() {
        let n = 200_000;
        let mut run: Vec<(f64, f64)> = (0..n).map(|i| (400.0 * i as f64 / n as f64, (i as f64 * 0.7).sin())).collect();
        run[77_777].1 = 9.0;
        run[123_456].1 = -9.0;
        let kept = decimated(run.clone());
        assert!(kept.len() <= 4 * 801 && kept.len() > 1000, "{}", kept.len());
        assert_eq!((kept[0], kept[kept.len() - 1]), (run[0], run[n - 1]));
        assert!(kept.contains(&run[77_777]) && kept.contains(&run[123_456]));
        assert!(kept.windows(2).all(|w| w[0].0 <= w[1].0));
        let back: Vec<_> = run.iter().rev().copied().take(5000).collect();
        assert_eq!(decimated(back.clone()), back);
    }
}
