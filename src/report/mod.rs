//! Reports: charts as SVG, and pages that hold them, each in one file that needs no other.
//!
//! The charts know nothing of what is measured: they take numbers and names. A [`Chart`] is a title and a [`Plot`];
//! [`Chart::svg`] gives a document that stands alone, a [`Page`] puts many into one HTML file.
//!
//! * **Readable anywhere**: 420 units wide, text at 12 and 13; names that may be long stand where there is room, labels
//!   that would touch are left out, the rest is cut with an ellipsis. Text widths are estimated from wide fonts.
//! * **Colours** are those of Okabe and Ito, told apart by every kind of colour vision. Each shape carries its colour
//!   for light paper and a class; in a page the class takes the theme's colour, light or dark.
//! * **Any number** may come: what is NaN, infinite or not above 0 on a logarithmic axis is left out, and a note under
//!   the chart says how much was.
//!
//! ```
//! use realign::report::{Axis, Chart, Lines, Page, Section, Series, Style};
//!
//! # fn main() -> realign::Result<()> {
//! let spectrum: Vec<f64> = (1..=200).map(|i| 0.1 * f64::from(i).powf(-1.33)).collect();
//! let lines = Lines::new(Axis::log("rank"), Axis::log("eigenvalue"))
//!     .series(Series::ranked("text", &spectrum))
//!     .series(Series::new("α = 1.33", vec![[1.0, 0.1], [200.0, 8.7e-5]]).style(Style::Fit));
//! let chart = Chart::new("Spectrum", lines);
//! assert!(chart.svg().starts_with("<svg"));
//!
//! let section = Section::new("Shape", "").chart(chart, "A straight line is a power law.");
//! let page = Page::new("Report", "Two clouds.").card("gap", "0.39", "before").section(section);
//! assert!(page.html().contains("A straight line is a power law."));
//! # Ok(())
//! # }
//! ```

mod axis;
mod bars;
mod chart;
mod frame;
mod gallery;
mod heat;
mod lines;
mod page;
mod scatter;
mod sheet;
mod table;
mod text;

pub use axis::Axis;
pub use bars::{Bar, Bars, Stacks};
pub use chart::{Chart, Plot, slug};
pub use gallery::{Gallery, Tile};
pub use heat::HeatMap;
pub use lines::{Lines, Series, Style};
pub use page::{Page, Section};
pub use scatter::{Cloud, Scatter};
pub use table::{Best, Cell, Column, Table};

/// A number as one reads it: three significant digits, a power of ten where plain digits would be long.
///
/// ```
/// use realign::report::number;
/// assert_eq!([number(0.39142), number(50_000.0), number(4.2e-7)], ["0.391", "50,000", "4.2×10⁻⁷"]);
/// ```
pub fn number(value: f64) -> String {
    text::number(value)
}
