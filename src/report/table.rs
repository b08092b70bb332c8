//! Tables of numbers, with the best of a column marked.

use maud::{Markup, html};

use super::text;
use crate::{Error, Result};

/// A table whose first column names the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Row>,
}

/// A column of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    name: String,
    best: Best,
}

/// Which value of a column is the best one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Best {
    /// None is marked.
    Unmarked,
    /// The smallest number.
    Lowest,
    /// The largest number.
    Highest,
    /// The number closest to this one, as to the value of the target.
    Nearest(f64),
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    name: String,
    cells: Vec<Cell>,
    competes: bool,
}

/// A cell of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number; NaN is shown as a dash.
    Number(f64),
    /// A mean and its standard deviation.
    Spread(f64, f64),
    /// Nothing was measured.
    Missing,
}

impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        Cell::Number(value)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_string())
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Cell {
        value.map_or(Cell::Missing, Cell::Number)
    }
}

impl Column {
    /// A column; name the unit in its name.
    pub fn new(name: impl Into<String>) -> Column {
        Column { name: name.into(), best: Best::Unmarked }
    }

    /// Marks the best values of the column, all of them where several are equal.
    pub fn best(mut self, best: Best) -> Column {
        self.best = best;
        self
    }
}

impl Cell {
    fn value(&self) -> Option<f64> {
        match self {
            Cell::Number(v) | Cell::Spread(v, _) => Some(*v).filter(|v| v.is_finite()),
            Cell::Text(_) | Cell::Missing => None,
        }
    }

    fn show(&self, decimals: usize) -> String {
        match self {
            Cell::Text(words) => text::clean(words),
            Cell::Number(v) => text::aligned(*v, decimals),
            Cell::Spread(v, sd) => format!("{} ± {}", text::aligned(*v, decimals), text::aligned(*sd, decimals)),
            Cell::Missing => "–".to_string(),
        }
    }
}

impl Table {
    /// A table without rows; the first of the columns is that of the rows' names.
    pub fn new(caption: impl Into<String>, columns: impl IntoIterator<Item = Column>) -> Table {
        Table { caption: caption.into(), columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row of a name and one cell per column after the first.
    ///
    /// # Errors
    /// The number of cells does not fit the columns.
    pub fn row(self, name: impl Into<String>, cells: impl IntoIterator<Item = impl Into<Cell>>) -> Result<Table> {
        self.push(name.into(), cells.into_iter().map(Into::into).collect(), true)
    }

    /// Adds a row that is there for comparison and can not be the best, such as that of the target itself.
    ///
    /// # Errors
    /// The number of cells does not fit the columns.
    pub fn reference(self, name: impl Into<String>, cells: impl IntoIterator<Item = impl Into<Cell>>) -> Result<Table> {
        self.push(name.into(), cells.into_iter().map(Into::into).collect(), false)
    }

    fn push(mut self, name: String, cells: Vec<Cell>, competes: bool) -> Result<Table> {
        let expected = self.columns.len().saturating_sub(1);
        if cells.len() != expected {
            return Err(Error::shape("table", format!("row {name}"), format!("{expected} cells"), cells.len()));
        }
        self.rows.push(Row { name, cells, competes });
        Ok(self)
    }

    fn decimals(&self, column: usize) -> usize {
        text::decimals(self.rows.iter().filter_map(|r| r.cells[column].value()))
    }

    /// How far a value is from the best conceivable; lower is better.
    fn distance(best: Best, value: f64) -> Option<f64> {
        match best {
            Best::Unmarked => None,
            Best::Lowest => Some(value),
            Best::Highest => Some(-value),
            Best::Nearest(target) => Some((value - target).abs()).filter(|d| d.is_finite()),
        }
    }

    fn is_best(&self, row: &Row, column: usize) -> bool {
        let best = self.columns[column + 1].best;
        let distance = |row: &Row| row.cells[column].value().and_then(|v| Table::distance(best, v));
        let rivals = self.rows.iter().filter(|r| r.competes).filter_map(distance);
        let least = rivals.fold(f64::INFINITY, f64::min);
        row.competes && distance(row).is_some_and(|d| d <= least)
    }

    /// Whether all below a column's name is text, which starts where the name does.
    fn is_words(&self, column: usize) -> bool {
        let text = |row: &Row| column.checked_sub(1).is_some_and(|c| matches!(row.cells[c], Cell::Text(_)));
        !self.rows.is_empty() && self.rows.iter().all(text)
    }

    pub(super) fn markup(&self) -> Markup {
        let decimals: Vec<usize> = (1..self.columns.len()).map(|c| self.decimals(c - 1)).collect();
        let caption = text::clean(&self.caption);
        html! {
            div.table tabindex="0" role="region" aria-label=(caption) {
                table {
                    @if !caption.is_empty() { caption { (caption) } }
                    thead {
                        tr {
                            @for (c, column) in self.columns.iter().enumerate() {
                                th.words[self.is_words(c)] scope="col" { (text::clean(&column.name)) }
                            }
                        }
                    }
                    tbody {
                        @for row in &self.rows {
                            tr.reference[!row.competes] {
                                th scope="row" { (text::clean(&row.name)) }
                                @for (c, cell) in row.cells.iter().enumerate() {
                                    td.best[self.is_best(row, c)].words[matches!(cell, Cell::Text(_))] {
                                        (cell.show(decimals[c]))
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
