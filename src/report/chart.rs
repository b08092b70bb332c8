//! A chart: a titled plot as SVG, alone or within a page.

use svg::Document;
use svg::node::element::{Group, Rectangle};

use super::bars::{Bars, Stacks};
use super::heat::HeatMap;
use super::lines::Lines;
use super::scatter::Scatter;
use super::sheet::{Anchor, FONTS, NORMAL, Paint, SMALL, Sheet, WIDTH};
use super::text;

/// A titled plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    pub(super) title: String,
    plot: Plot,
}

/// What a [`Chart`] shows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Plot {
    /// Spectra, densities, curves.
    Lines(Lines),
    /// Clouds of points.
    Scatter(Scatter),
    /// Grouped bars.
    Bars(Bars),
    /// Stacked bars.
    Stacks(Stacks),
    /// A matrix.
    HeatMap(HeatMap),
}

macro_rules! plot_from {
    ($($kind:ident),*) => { $(
        impl From<$kind> for Plot {
            fn from(plot: $kind) -> Plot {
                Plot::$kind(plot)
            }
        }
    )* };
}
plot_from!(Lines, Scatter, Bars, Stacks, HeatMap);

/// Between the panels of a chart, and around a chart that stands alone.
const MARGIN: f64 = 20.0;

/// The [`Chart::slug`] of a title.
pub fn slug(title: &str) -> String {
    let mut slug = String::new();
    for c in title.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug: String = slug.chars().take(60).collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "chart".to_string() } else { slug.to_string() }
}

impl Chart {
    /// A plot under a title.
    pub fn new(title: impl Into<String>, plot: impl Into<Plot>) -> Chart {
        Chart { title: title.into(), plot: plot.into() }
    }

    /// A file name for the chart, without ending: its title in lower-case letters, digits and dashes.
    pub fn slug(&self) -> String {
        slug(&self.title)
    }

    /// The chart as a document of its own, UTF-8, on white paper, with title and notes. It refers to no other file.
    pub fn svg(&self) -> String {
        let mut heading = Sheet::default();
        let sheets = self.sheets();
        let width = sheets.len() as f64 * (WIDTH + MARGIN) - MARGIN;
        lines_of_text(&mut heading, &self.title, (16.0, 21.0), width, Paint::Ink);
        let top = MARGIN + heading.bottom + if heading.bottom > 0.0 { 6.0 } else { 0.0 };
        let below = top + sheets.iter().map(|s| s.bottom).fold(0.0, f64::max);
        let mut notes = Sheet::default();
        for note in self.notes(&sheets) {
            lines_of_text(&mut notes, &note, (SMALL, 16.0), width, Paint::Muted);
        }
        let (full_width, full_height) = (width + 2.0 * MARGIN, (below + notes.bottom + MARGIN).ceil());
        let mut document = Document::new()
            .set("viewBox", (0, 0, full_width, full_height))
            .set("width", full_width)
            .set("height", full_height)
            .set("font-family", FONTS)
            .set("role", "img")
            .set("aria-label", text::clean(&self.title))
            .add(Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "#ffffff"))
            .add(heading.group(MARGIN, MARGIN));
        for (i, sheet) in sheets.into_iter().enumerate() {
            document = document.add(sheet.group(MARGIN + i as f64 * (WIDTH + MARGIN), top));
        }
        document.add(notes.group(MARGIN, below)).to_string()
    }

    /// The panels without title and notes, for a page that brings colours and fonts; and the notes.
    pub(super) fn embedded(&self) -> (Vec<String>, Vec<String>) {
        let sheets = self.sheets();
        let notes = self.notes(&sheets);
        let several = sheets.len() > 1;
        let embed = |(i, sheet): (usize, Sheet)| {
            let label = text::clean(&self.title) + &if several { format!(" ({})", i + 1) } else { String::new() };
            let height = sheet.bottom.ceil().max(1.0);
            // Half a unit at both sides keeps the strokes at the edges whole.
            let document = Document::new().set("viewBox", (-1, 0, WIDTH + 2.0, height));
            let document = document.set("role", "img").set("aria-label", label);
            document.add(sheet.into_nodes().into_iter().fold(Group::new(), Group::add)).to_string()
        };
        (sheets.into_iter().enumerate().map(embed).collect(), notes)
    }

    /// What the reader must be told about the data, each once.
    fn notes(&self, sheets: &[Sheet]) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for note in sheets.iter().flat_map(|s| &s.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        notes
    }

    fn sheets(&self) -> Vec<Sheet> {
        match &self.plot {
            Plot::Lines(plot) => vec![plot.sheet()],
            Plot::Scatter(plot) => plot.sheets(),
            Plot::Bars(plot) => vec![plot.sheet()],
            Plot::Stacks(plot) => vec![plot.sheet()],
            Plot::HeatMap(plot) => vec![plot.sheet()],
        }
    }
}

/// Adds wrapped text at the sheet's end; bold above the normal size.
fn lines_of_text(sheet: &mut Sheet, content: &str, (size, height): (f64, f64), width: f64, paint: Paint) {
    let weight = if size > NORMAL { 600 } else { 400 };
    // Bold letters are wider.
    for line in text::wrap(content, size * 1.08, width, 3) {
        sheet.bottom += height;
        let at = (0.0, sheet.bottom - 0.25 * size);
        sheet.text_with(&line, at, size, paint, Anchor::Start, |t| t.set("font-weight", weight));
    }
}
