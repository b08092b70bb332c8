//! The two axes of a chart with points: grid, ticks, labels.

use super::axis::{Axis, Scale, Tick, centred};
use super::sheet::{Anchor, Paint, Pen, SMALL, Sheet, WIDTH};
use super::text;

/// A plane with axes, ready to be drawn in.
pub(super) struct Frame {
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) bottom: f64,
}

/// How tall the plane is.
pub(super) enum Height {
    /// In the units of the sheet.
    Fixed(f64),
    /// The same units per pixel on both (linear) axes.
    EqualUnits,
}

/// Draws grid, ticks and labels below what is on the sheet. The scales' pixels are set here.
pub(super) fn frame(sheet: &mut Sheet, axes: (&Axis, &Axis), scales: (Scale, Scale), height: Height) -> Frame {
    sheet.caption(&axes.1.label);
    let (mut x, mut y) = scales;
    let right = WIDTH - 8.0;
    // The labels' widths need the ticks, the ticks' number needs the height: start from the widest plane.
    let height = match height {
        Height::Fixed(height) => height,
        Height::EqualUnits => equalise(&mut x, &mut y, right - 40.0),
    };
    let top = sheet.bottom + 4.0;
    let bottom = top + height;
    y = y.over(bottom, top);
    let y_ticks = y.ticks((height / 42.0) as usize);
    let left = y_ticks.iter().map(|t| text::width(&t.label, SMALL)).fold(0.0, f64::max) + 8.0;
    x = x.over(left, right);
    horizontal_grid(sheet, &y_ticks, left, right);
    horizontal_axis(sheet, &x, (left, right), (top, bottom), &axes.0.label);
    Frame { x, y, bottom }
}

/// Widens one of two linear scales until both have the same units per pixel in a plane of that width; its height.
fn equalise(x: &mut Scale, y: &mut Scale, width: f64) -> f64 {
    let (spread_x, spread_y) = (x.high - x.low, y.high - y.low);
    let wanted = width * spread_y / spread_x;
    let height = wanted.clamp(0.6 * width, 0.95 * width);
    if wanted < height {
        *y = y.clone().stretched((height / wanted).min(1e6));
    } else {
        *x = x.clone().stretched((wanted / height).min(1e6));
    }
    height
}

fn horizontal_grid(sheet: &mut Sheet, ticks: &[Tick], left: f64, right: f64) {
    for tick in ticks {
        if tick.label.is_empty() {
            sheet.line((left - 3.0, tick.at), (left, tick.at), Pen::new(Paint::Grid, 1.0));
        } else {
            sheet.line((left, tick.at), (right, tick.at), Pen::new(Paint::Grid, 1.0));
            sheet.text(&tick.label, (left - 7.0, tick.at + 4.0), SMALL, Paint::Muted, Anchor::End);
        }
    }
}

/// The axis at the bottom, with its grid lines up to `top` and its label below; moves the sheet's end below both.
pub(super) fn horizontal_axis(
    sheet: &mut Sheet,
    scale: &Scale,
    (left, right): (f64, f64),
    (top, bottom): (f64, f64),
    label: &str,
) {
    let limits = (0.0, WIDTH);
    for tick in scale.ticks_apart(((right - left) / 60.0) as usize, SMALL, limits) {
        if tick.label.is_empty() {
            sheet.line((tick.at, bottom), (tick.at, bottom + 3.0), Pen::new(Paint::Muted, 1.0));
        } else {
            sheet.line((tick.at, top), (tick.at, bottom), Pen::new(Paint::Grid, 1.0));
            sheet.line((tick.at, bottom), (tick.at, bottom + 4.0), Pen::new(Paint::Muted, 1.0));
            let x = centred(tick.at, 0.5 * text::width(&tick.label, SMALL), limits);
            sheet.text(&tick.label, (x, bottom + 19.0), SMALL, Paint::Muted, Anchor::Middle);
        }
    }
    sheet.line((left, bottom), (right, bottom), Pen::new(Paint::Muted, 1.0));
    sheet.bottom = bottom + 23.0;
    let label = text::fit(label, SMALL, WIDTH);
    if !label.is_empty() {
        let x = centred(0.5 * (left + right), 0.5 * text::width(&label, SMALL), limits);
        sheet.text(&label, (x, bottom + 37.0), SMALL, Paint::Muted, Anchor::Middle);
        sheet.bottom = bottom + 42.0;
    }
}
