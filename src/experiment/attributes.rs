//! What is said of a digit's image, measured from its pixels.

use crate::{Error, Result};

/// Attributes of an image: digit, strokes, slant, width, height.
pub const ATTRIBUTES: usize = 5;

/// Number of values of each attribute.
pub const VALUES: [usize; ATTRIBUTES] = [10, 2, 3, 2, 2];

/// The values of an image's attributes, each from 0 to below its [`VALUES`]: the digit; thin, thick; left, upright, right;
/// narrow, wide; high, low.
pub type Attributes = [u8; ATTRIBUTES];

/// Measures of one image, from its ink as a distribution over the pixels. Units are pixels; rows count downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measures {
    /// Mean ink of a pixel, 0 to 1: how thick the strokes are, for digits that all fill their box.
    pub ink: f64,
    /// Columns that the ink moves to the right from one row to the row above: `-Cov(column, row) / Var(row)`.
    pub slant: f64,
    /// Standard deviation of the ink's column.
    pub width: f64,
    /// Mean row of the ink.
    pub row: f64,
}

impl Measures {
    /// Of `pixels`, `[height, width]` row-major, 0 (paper) to 1 (ink).
    ///
    /// # Errors
    /// Pixels that are no whole rows, that are negative or not finite; an image without ink, or with ink in a single row.
    pub fn of(pixels: &[f32], width: usize) -> Result<Self> {
        if width == 0 || pixels.is_empty() || !pixels.len().is_multiple_of(width) {
            return Err(Error::shape("attributes", "image", format!("whole rows of {width} pixels"), pixels.len()));
        }
        if let Some(p) = pixels.iter().find(|p| !(p.is_finite() && **p >= 0.0)) {
            return Err(Error::shape("attributes", "image", "pixels of 0 or more", p));
        }
        let mean = |f: &dyn Fn(f64, f64) -> f64| {
            let terms = pixels.iter().enumerate();
            terms.map(|(i, p)| f64::from(*p) * f((i % width) as f64, (i / width) as f64)).sum::<f64>()
        };
        let mass = mean(&|_, _| 1.0);
        let problem = "an image has no ink, or all of it in one row: it has no slant; leave it out";
        if mass <= 0.0 {
            return Err(Error::degenerate(problem.to_owned()));
        }
        let (column, row) = (mean(&|x, _| x) / mass, mean(&|_, y| y) / mass);
        let about = |f: &dyn Fn(f64, f64) -> f64| mean(&|x, y| f(x - column, y - row)) / mass;
        let (xx, yy, xy) = (about(&|x, _| x * x), about(&|_, y| y * y), about(&|x, y| x * y));
        if yy <= 1e-12 {
            return Err(Error::degenerate(problem.to_owned()));
        }
        Ok(Measures { ink: mass / pixels.len() as f64, slant: -xy / yy, width: xx.sqrt(), row })
    }
}

/// Where one value of an attribute ends and the next begins: medians, and thirds for the slant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    ink: f64,
    slant: [f64; 2],
    width: f64,
    row: f64,
}

impl Thresholds {
    /// From the images that may be learnt from, so that nothing of the test set enters.
    ///
    /// # Errors
    /// No images.
    pub fn of(measures: &[Measures]) -> Result<Self> {
        if measures.is_empty() {
            return Err(Error::argument("images", "attributes need at least one image to compare with"));
        }
        let sorted = |f: fn(&Measures) -> f64| {
            let mut values: Vec<f64> = measures.iter().map(f).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let slants = sorted(|m| m.slant);
        Ok(Thresholds {
            ink: quantile(&sorted(|m| m.ink), 0.5),
            slant: [quantile(&slants, 1.0 / 3.0), quantile(&slants, 2.0 / 3.0)],
            width: quantile(&sorted(|m| m.width), 0.5),
            row: quantile(&sorted(|m| m.row), 0.5),
        })
    }

    /// The attributes of an image that shows `digit`.
    pub fn attributes(&self, digit: u8, m: &Measures) -> Attributes {
        let above = |value: f64, limit: f64| u8::from(value > limit);
        let slant = above(m.slant, self.slant[0]) + above(m.slant, self.slant[1]);
        [digit, above(m.ink, self.ink), slant, above(m.width, self.width), above(m.row, self.row)]
    }
}

/// A quantile of ascending values, linear between them.
fn quantile(values: &[f64], at: f64) -> f64 {
    let place = at * (values.len() - 1) as f64;
    let (below, share) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(values.len() - 1);
    values[below] + share * (values[above] - values[below])
}
