//! The page: everything that was measured in one HTML file.

use std::collections::HashSet;
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::Chart;
use super::gallery::Gallery;
use super::table::Table;
use super::text;
use crate::Result;
use crate::io::write_atomically;

/// A report as one self-contained HTML file: no network, no fonts, no scripts; light or dark as the reader's system.
///
/// All text is escaped. The same page gives the same bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    title: String,
    intro: String,
    cards: Vec<Card>,
    sections: Vec<Section>,
    inputs: Option<serde_json::Value>,
}

/// A key figure.
#[derive(Clone, Debug, PartialEq)]
struct Card {
    label: String,
    value: String,
    note: String,
}

/// A part of a [`Page`]: a heading, a paragraph, figures and tables in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    title: String,
    intro: String,
    items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Figure { chart: Chart, meaning: String },
    Table { table: Table, meaning: String },
    Gallery { gallery: Gallery, meaning: String },
}

impl Section {
    /// A section with a paragraph (which may be empty) under its heading.
    pub fn new(title: impl Into<String>, intro: impl Into<String>) -> Section {
        Section { title: title.into(), intro: intro.into(), items: Vec::new() }
    }

    /// Adds a chart and the sentence that says what it means.
    pub fn chart(mut self, chart: Chart, meaning: impl Into<String>) -> Section {
        self.items.push(Item::Figure { chart, meaning: meaning.into() });
        self
    }

    /// Adds a table and the sentence that says what it means.
    pub fn table(mut self, table: Table, meaning: impl Into<String>) -> Section {
        self.items.push(Item::Table { table, meaning: meaning.into() });
        self
    }

    /// Adds images with what was said of them, and the sentence that says what it means.
    pub fn gallery(mut self, gallery: Gallery, meaning: impl Into<String>) -> Section {
        self.items.push(Item::Gallery { gallery, meaning: meaning.into() });
        self
    }
}

impl Page {
    /// A page with a sentence (which may be empty) under its title.
    pub fn new(title: impl Into<String>, intro: impl Into<String>) -> Page {
        Page { title: title.into(), intro: intro.into(), ..Page::default() }
    }

    /// Adds a key figure: what it is, its value, and a remark such as its unit or the value before. See [`number`].
    ///
    /// [`number`]: super::number
    pub fn card(mut self, label: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> Page {
        self.cards.push(Card { label: label.into(), value: value.into(), note: note.into() });
        self
    }

    /// Adds a section.
    pub fn section(mut self, section: Section) -> Page {
        self.sections.push(section);
        self
    }

    /// What was measured and how, shown folded at the end of the page.
    pub fn inputs(mut self, inputs: serde_json::Value) -> Page {
        self.inputs = Some(inputs);
        self
    }

    /// Each chart as a document of its own with a name that is unique on the page, without ending: for files.
    pub fn svgs(&self) -> Vec<(String, String)> {
        let mut taken = HashSet::new();
        let items = self.sections.iter().flat_map(|s| &s.items);
        let charts = items.filter_map(|item| match item {
            Item::Figure { chart, .. } => Some(chart),
            Item::Table { .. } | Item::Gallery { .. } => None,
        });
        let mut named = |chart: &Chart| {
            let slug = chart.slug();
            let mut name = slug.clone();
            let mut count = 1;
            while !taken.insert(name.clone()) {
                count += 1;
                name = format!("{slug}-{count}");
            }
            (name, chart.svg())
        };
        charts.map(&mut named).collect()
    }

    /// Writes each chart to `folder` as an `.svg` file of its own; makes the folder if need be.
    ///
    /// # Errors
    /// The folder cannot be made or written, or a file exists and `force` is off.
    pub fn write_svgs(&self, folder: impl AsRef<Path>, force: bool) -> Result<()> {
        let folder = folder.as_ref();
        crate::io::url::create_folders(folder)?;
        let write = |(name, svg): (String, String)| {
            write_atomically(&folder.join(format!("{name}.svg")), force, svg.as_bytes())
        };
        self.svgs().into_iter().try_for_each(write)
    }

    /// Writes the page to `path`, whole or not at all.
    ///
    /// # Errors
    /// The file exists and `force` is off, its folder does not exist or cannot be written, or the disk is full.
    pub fn write(&self, path: impl AsRef<Path>, force: bool) -> Result<()> {
        write_atomically(path.as_ref(), force, self.html().as_bytes())
    }

    /// The page as HTML, UTF-8.
    pub fn html(&self) -> String {
        let (title, intro) = (text::clean(&self.title), text::clean(&self.intro));
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) }
                    style { (PreEscaped(include_str!("page.css"))) }
                }
                body {
                    header {
                        h1 { (title) }
                        @if !intro.is_empty() { p { (intro) } }
                    }
                    main {
                        @if !self.cards.is_empty() { div.cards { @for card in &self.cards { (card.markup()) } } }
                        @for section in &self.sections { (section.markup()) }
                        @if let Some(inputs) = &self.inputs { (folded(inputs)) }
                    }
                    footer { "realign " (env!("CARGO_PKG_VERSION")) }
                }
            }
        };
        page.into_string()
    }
}

impl Card {
    fn markup(&self) -> Markup {
        let note = text::clean(&self.note);
        html! {
            div.card {
                span.label { (text::clean(&self.label)) }
                span.value { (text::clean(&self.value)) }
                @if !note.is_empty() { span.note { (note) } }
            }
        }
    }
}

impl Section {
    fn markup(&self) -> Markup {
        let intro = text::clean(&self.intro);
        html! {
            section {
                h2 { (text::clean(&self.title)) }
                @if !intro.is_empty() { p { (intro) } }
                div.items { @for item in &self.items { (item.markup()) } }
            }
        }
    }
}

impl Item {
    fn markup(&self) -> Markup {
        match self {
            Item::Figure { chart, meaning } => {
                let (panels, notes) = chart.embedded();
                html! {
                    figure.wide[panels.len() > 1] {
                        h3 { (text::clean(&chart.title)) }
                        div.panels { @for panel in &panels { (PreEscaped(panel)) } }
                        figcaption {
                            (text::clean(meaning))
                            @for note in &notes { span.note { (text::clean(note)) } }
                        }
                    }
                }
            }
            Item::Gallery { gallery, meaning } => html! {
                div.wide {
                    (gallery.markup())
                    @if !text::clean(meaning).is_empty() { p.meaning { (text::clean(meaning)) } }
                }
            },
            Item::Table { table, meaning } => html! {
                div.wide {
                    (table.markup())
                    @if !text::clean(meaning).is_empty() { p.meaning { (text::clean(meaning)) } }
                }
            },
        }
    }
}

fn folded(inputs: &serde_json::Value) -> Markup {
    html! {
        details {
            summary { "Inputs" }
            pre { code { (text::clean_lines(&format!("{inputs:#}"))) } }
        }
    }
}
