//! The surface that charts draw on: coloured shapes and text, from the top down.

use svg::Node;
use svg::node::element::{Circle, Group, Line, Path, Rectangle, Text};

use super::text;

/// Width of every chart, in its own units; narrow enough to be read on a phone.
pub(super) const WIDTH: f64 = 420.0;
/// Text sizes in the same units.
pub(super) const SMALL: f64 = 12.0;
pub(super) const NORMAL: f64 = 13.0;

/// Fonts that every system has one of, so that nothing is fetched.
pub(super) const FONTS: &str = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif";

/// What a shape is coloured for. Each paint is written twice: as a colour for light paper, which any viewer
/// understands, and as a class through which the page gives it the colour of the theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Ink,
    Muted,
    Grid,
    Paper,
    /// A colour of the palette, repeated beyond its end.
    Series(usize),
    /// Text upon that colour.
    On(usize),
}

/// Okabe and Ito's palette for all kinds of colour vision, its yellow left out: blue, vermilion, green, purple, sky,
/// orange; with the text that can be read upon each.
const PALETTE: [(&str, &str); 6] = [
    ("#0072b2", "#ffffff"),
    ("#d55e00", "#ffffff"),
    ("#009e73", "#101418"),
    ("#cc79a7", "#101418"),
    ("#56b4e9", "#101418"),
    ("#e69f00", "#101418"),
];

impl Paint {
    fn light(self) -> &'static str {
        match self {
            Paint::Ink => "#1b2026",
            Paint::Muted => "#5d6873",
            Paint::Grid => "#e3e7eb",
            Paint::Paper => "#ffffff",
            Paint::Series(i) => PALETTE[i % PALETTE.len()].0,
            Paint::On(i) => PALETTE[i % PALETTE.len()].1,
        }
    }

    /// The suffix of the classes `f-…` (fill) and `s-…` (stroke).
    fn name(self) -> String {
        match self {
            Paint::Ink => "ink".to_string(),
            Paint::Muted => "muted".to_string(),
            Paint::Grid => "grid".to_string(),
            Paint::Paper => "paper".to_string(),
            Paint::Series(i) => (i % PALETTE.len()).to_string(),
            Paint::On(i) => format!("on{}", i % PALETTE.len()),
        }
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pen {
    pub(super) paint: Paint,
    pub(super) width: f64,
    pub(super) opacity: f64,
    pub(super) dash: Option<&'static str>,
}

impl Pen {
    pub(super) fn new(paint: Paint, width: f64) -> Pen {
        Pen { paint, width, opacity: 1.0, dash: None }
    }
}

/// Where a text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// One drawing of width [`WIDTH`] that grows downwards.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheet {
    nodes: Vec<Box<dyn Node>>,
    /// Everything above this is drawn.
    pub(super) bottom: f64,
    /// What the reader must be told about the data, such as points that could not be drawn.
    pub(super) notes: Vec<String>,
}

/// A coordinate: two decimals are finer than any screen.
fn c(value: f64) -> f64 {
    // The addition turns a negative zero into a positive one.
    (value * 100.0).round() / 100.0 + 0.0
}

impl Sheet {
    pub(super) fn add(&mut self, node: impl Into<Box<dyn Node>>) {
        self.nodes.push(node.into());
    }

    /// All shapes as one group, shifted.
    pub(super) fn group(self, x: f64, y: f64) -> Group {
        let group = Group::new().set("transform", format!("translate({} {})", c(x), c(y)));
        self.nodes.into_iter().fold(group, Group::add)
    }

    pub(super) fn into_nodes(self) -> Vec<Box<dyn Node>> {
        self.nodes
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), pen: Pen) {
        let line = Line::new().set("x1", c(x1)).set("y1", c(y1)).set("x2", c(x2)).set("y2", c(y2));
        let (class, colour) = (format!("s-{}", pen.paint.name()), pen.paint.light());
        self.add(line.set("class", class).set("stroke", colour).set("stroke-width", pen.width));
    }

    pub(super) fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), paint: Paint, opacity: f64) {
        let mut rectangle =
            Rectangle::new().set("x", c(x)).set("y", c(y)).set("width", c(width)).set("height", c(height));
        if opacity < 1.0 {
            rectangle = rectangle.set("fill-opacity", c(opacity));
        }
        self.add(rectangle.set("class", format!("f-{}", paint.name())).set("fill", paint.light()));
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), radius: f64, paint: Paint) {
        let circle = Circle::new().set("cx", c(x)).set("cy", c(y)).set("r", radius);
        self.add(circle.set("class", format!("f-{}", paint.name())).set("fill", paint.light()));
    }

    /// Many dots as one path of points with round ends: a third of the bytes of circles.
    pub(super) fn dots(&mut self, points: &[(f64, f64)], radius: f64, paint: Paint, opacity: f64) {
        if points.is_empty() {
            return;
        }
        let data: String = points.iter().map(|&(x, y)| format!("M{} {}h0", c(x), c(y))).collect();
        let pen = Pen { opacity, ..Pen::new(paint, 2.0 * radius) };
        self.stroke(data, pen);
    }

    /// Lines through runs of points; a run of one point becomes a dot.
    pub(super) fn polylines(&mut self, runs: &[Vec<(f64, f64)>], pen: Pen) {
        let data: String = runs.iter().map(|run| polyline(run)).collect();
        if !data.is_empty() {
            self.stroke(data, pen);
        }
        let alone: Vec<_> = runs.iter().filter(|run| run.len() == 1).map(|run| run[0]).collect();
        self.dots(&alone, 1.2 * pen.width, pen.paint, pen.opacity);
    }

    fn stroke(&mut self, data: String, pen: Pen) {
        let mut path = Path::new().set("d", data).set("fill", "none").set("stroke-width", pen.width);
        path = path.set("stroke-linecap", "round").set("stroke-linejoin", "round");
        if pen.opacity < 1.0 {
            path = path.set("stroke-opacity", pen.opacity);
        }
        if let Some(dash) = pen.dash {
            path = path.set("stroke-dasharray", dash);
        }
        self.add(path.set("class", format!("s-{}", pen.paint.name())).set("stroke", pen.paint.light()));
    }

    /// The areas between runs of points and the height `base`.
    pub(super) fn areas(&mut self, runs: &[Vec<(f64, f64)>], base: f64, paint: Paint, opacity: f64) {
        let mut data = String::new();
        for run in runs.iter().filter(|run| run.len() > 1) {
            let (first, last) = (run[0].0, run[run.len() - 1].0);
            data += &format!("{}L{} {}L{} {}Z", polyline(run), c(last), c(base), c(first), c(base));
        }
        if data.is_empty() {
            return;
        }
        let path = Path::new().set("d", data).set("fill-opacity", opacity);
        self.add(path.set("class", format!("f-{}", paint.name())).set("fill", paint.light()));
    }

    pub(super) fn text(&mut self, content: &str, at: (f64, f64), size: f64, paint: Paint, anchor: Anchor) {
        self.text_with(content, at, size, paint, anchor, |text| text);
    }

    /// Text with more attributes, such as a weight or a rotation.
    pub(super) fn text_with(
        &mut self,
        content: &str,
        (x, y): (f64, f64),
        size: f64,
        paint: Paint,
        anchor: Anchor,
        more: impl FnOnce(Text) -> Text,
    ) {
        let content = text::clean(content);
        if content.is_empty() {
            return;
        }
        let mut node = Text::new(content).set("x", c(x)).set("y", c(y)).set("font-size", size);
        match anchor {
            Anchor::Start => {}
            Anchor::Middle => node = node.set("text-anchor", "middle"),
            Anchor::End => node = node.set("text-anchor", "end"),
        }
        self.add(more(node.set("class", format!("f-{}", paint.name())).set("fill", paint.light())));
    }

    /// A bold line of text, for the title of a panel.
    pub(super) fn heading(&mut self, content: &str) {
        let content = text::fit(content, 1.1 * NORMAL, WIDTH);
        if !content.is_empty() {
            self.bottom += 16.0;
            let at = (0.0, self.bottom);
            self.text_with(&content, at, NORMAL, Paint::Ink, Anchor::Start, |t| t.set("font-weight", 600));
            self.bottom += 8.0;
        }
    }

    /// One small line of text at the left, as for the label of a vertical axis.
    pub(super) fn caption(&mut self, content: &str) {
        let content = text::fit(content, SMALL, WIDTH);
        if !content.is_empty() {
            self.bottom += 14.0;
            let at = (0.0, self.bottom);
            self.text(&content, at, SMALL, Paint::Muted, Anchor::Start);
            self.bottom += 8.0;
        }
    }

    /// The names of the series in as many rows as they need; nameless ones are left out.
    pub(super) fn legend(&mut self, entries: &[(&str, Key)]) {
        const SWATCH: f64 = 22.0;
        let mut x = 0.0;
        let mut any = false;
        for &(name, key) in entries {
            let name = text::fit(name, SMALL, WIDTH - SWATCH);
            if name.is_empty() {
                continue;
            }
            let wide = SWATCH + text::width(&name, SMALL);
            if !any || x + wide > WIDTH {
                self.bottom += 18.0;
                (x, any) = (0.0, true);
            }
            let y = self.bottom - 4.0;
            match key {
                Key::Line(pen) => self.polylines(&[vec![(x + 2.0, y), (x + 15.0, y)]], pen),
                Key::Dot(paint) => self.dot((x + 8.0, y), 4.0, paint),
                Key::Square(paint, opacity) => self.rectangle((x + 3.0, y - 5.0), (11.0, 10.0), paint, opacity),
            }
            self.text(&name, (x + SWATCH, self.bottom), SMALL, Paint::Ink, Anchor::Start);
            x += wide + 14.0;
        }
        self.bottom += if any { 6.0 } else { 0.0 };
    }

    /// Tells how many values could not be drawn.
    pub(super) fn note_skipped(&mut self, skipped: usize, of: usize, what: &str, log: bool) {
        if skipped > 0 {
            let why = if log { "not finite, or not above 0 on a logarithmic axis" } else { "not finite" };
            let verb = if of == 1 { "is" } else { "are" };
            self.notes.push(format!("{skipped} of {of} {what} {verb} not drawn: {why}."));
        }
    }
}

/// How a series is recognised in a legend.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    Line(Pen),
    Dot(Paint),
    Square(Paint, f64),
}

fn polyline(run: &[(f64, f64)]) -> String {
    if run.len() < 2 {
        return String::new();
    }
    let step = |(i, &(x, y)): (usize, &(f64, f64))| format!("{}{} {}", if i == 0 { 'M' } else { 'L' }, c(x), c(y));
    run.iter().enumerate().map(step).collect()
}
