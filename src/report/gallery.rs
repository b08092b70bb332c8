//! Small grey images with what was said of them.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::text;

/// A grid of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gallery {
    tiles: Vec<Tile>,
}

/// One image and its lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tile {
    pixels: Vec<f32>,
    width: usize,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq)]
struct Line {
    label: String,
    said: String,
    /// Parts of it, or of what it means, and whether each is right.
    parts: Vec<(String, bool)>,
}

impl Gallery {
    /// An empty gallery.
    pub fn new() -> Gallery {
        Gallery::default()
    }

    /// Adds an image.
    pub fn tile(mut self, tile: Tile) -> Gallery {
        self.tiles.push(tile);
        self
    }

    pub(super) fn markup(&self) -> Markup {
        html! {
            div.gallery { @for tile in &self.tiles { (tile.markup()) } }
        }
    }
}

impl Tile {
    /// An image of rows of `width` pixels, 0 (paper) to 1 (ink).
    pub fn new(pixels: impl Into<Vec<f32>>, width: usize) -> Tile {
        Tile { pixels: pixels.into(), width: width.max(1), lines: Vec::new() }
    }

    /// Adds what was said.
    pub fn line(self, label: impl Into<String>, said: impl Into<String>) -> Tile {
        self.judged(label, said, std::iter::empty::<(String, bool)>())
    }

    /// Adds what was said, and its parts, each marked as right or wrong. What was said may be empty: the parts say it then.
    pub fn judged(
        mut self,
        label: impl Into<String>,
        said: impl Into<String>,
        parts: impl IntoIterator<Item = (impl Into<String>, bool)>,
    ) -> Tile {
        let parts = parts.into_iter().map(|(part, right)| (part.into(), right)).collect();
        self.lines.push(Line { label: label.into(), said: said.into(), parts });
        self
    }

    fn markup(&self) -> Markup {
        html! {
            div.tile {
                (PreEscaped(self.svg()))
                dl {
                    @for line in &self.lines {
                        dt { (text::clean(&line.label)) }
                        dd {
                            (text::clean(&line.said))
                            @for (part, right) in &line.parts {
                                " " span.part.wrong[!right] { (if *right { "✓" } else { "✗" }) "\u{a0}" (text::clean(part)) }
                            }
                        }
                    }
                }
            }
        }
    }

    /// A square per pixel, as strong as its ink: sharp at any size, in the theme's colour.
    fn svg(&self) -> String {
        let height = self.pixels.len().div_ceil(self.width);
        let mut svg = format!("<svg viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"image\">", self.width);
        for (i, ink) in self.pixels.iter().enumerate().filter(|(_, ink)| **ink > 0.0) {
            let (x, y) = (i % self.width, i / self.width);
            let ink = ink.min(1.0);
            // Writing to a String cannot fail.
            let _ = write!(
                svg,
                "<rect class=\"f-ink\" x=\"{x}\" y=\"{y}\" width=\"1\" height=\"1\" opacity=\"{ink:.2}\"/>"
            );
        }
        svg + "</svg>"
    }
}
