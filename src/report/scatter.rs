//! Clouds of points, in one panel or in several side by side.

use super::axis::Axis;
use super::frame::{Height, frame};
use super::sheet::{Key, Paint, Sheet};

/// Clouds of points in panels that share their axes, as before and after an alignment.
///
/// On linear axes a unit is as long across as it is upwards, so that distances can be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    x: Axis,
    y: Axis,
    panels: Vec<Panel>,
}

#[derive(Clone, Debug, PartialEq)]
struct Panel {
    title: String,
    clouds: Vec<Cloud>,
}

/// One cloud of a [`Scatter`].
#[derive(Clone, Debug, PartialEq)]
pub struct Cloud {
    name: String,
    points: Vec<[f64; 2]>,
    colour: Option<usize>,
}

/// Points of a cloud beyond this many are left out evenly, and the chart says so: the eye sees no more, files grow.
const MOST: usize = 3000;
/// Clouds are drawn in turns of this many slices each, so that none covers the other.
const SLICES: usize = 6;

impl Cloud {
    /// A cloud of `points`, each `[x, y]`. An empty name keeps it out of the legend.
    pub fn new(name: impl Into<String>, points: Vec<[f64; 2]>) -> Cloud {
        Cloud { name: name.into(), points, colour: None }
    }

    /// Takes that colour of the palette (from 0) instead of the one of its position.
    pub fn colour(mut self, colour: usize) -> Cloud {
        self.colour = Some(colour);
        self
    }
}

impl Scatter {
    /// A chart without panels.
    pub fn new(x: Axis, y: Axis) -> Scatter {
        Scatter { x, y, panels: Vec::new() }
    }

    /// Adds a panel to the right of those there (below them on a narrow screen).
    pub fn panel(mut self, title: impl Into<String>, clouds: Vec<Cloud>) -> Scatter {
        self.panels.push(Panel { title: title.into(), clouds });
        self
    }

    fn draws(&self, p: &[f64; 2]) -> bool {
        self.x.draws(p[0]) && self.y.draws(p[1])
    }

    pub(super) fn sheets(&self) -> Vec<Sheet> {
        if self.panels.is_empty() {
            return vec![self.sheet(&Panel { title: String::new(), clouds: Vec::new() })];
        }
        self.panels.iter().map(|panel| self.sheet(panel)).collect()
    }

    fn sheet(&self, panel: &Panel) -> Sheet {
        let mut sheet = Sheet::default();
        sheet.heading(&panel.title);
        let paint = |i: usize, cloud: &Cloud| Paint::Series(cloud.colour.unwrap_or(i));
        let entries: Vec<(&str, Key)> =
            panel.clouds.iter().enumerate().map(|(i, c)| (c.name.as_str(), Key::Dot(paint(i, c)))).collect();
        sheet.legend(&entries);
        let all = || self.panels.iter().flat_map(|p| &p.clouds).flat_map(|c| &c.points).filter(|p| self.draws(p));
        let scales = (self.x.scale(all().map(|p| p[0]), 0.0, 1.0), self.y.scale(all().map(|p| p[1]), 0.0, 1.0));
        let height = if self.x.log || self.y.log { Height::Fixed(340.0) } else { Height::EqualUnits };
        let frame = frame(&mut sheet, (&self.x, &self.y), scales, height);
        let place = |p: &[f64; 2]| (frame.x.at(p[0]), frame.y.at(p[1]));
        let shown: Vec<Vec<(f64, f64)>> = panel.clouds.iter().map(|c| self.thinned(c, place)).collect();
        for slice in 0..SLICES {
            for (i, cloud) in panel.clouds.iter().enumerate() {
                let part: Vec<_> = shown[i].iter().skip(slice).step_by(SLICES).copied().collect();
                sheet.dots(&part, if shown[i].len() > 200 { 1.7 } else { 2.5 }, paint(i, cloud), 0.55);
            }
        }
        self.notes(&mut sheet, panel);
        sheet
    }

    fn thinned(&self, cloud: &Cloud, place: impl Fn(&[f64; 2]) -> (f64, f64)) -> Vec<(f64, f64)> {
        let points: Vec<&[f64; 2]> = cloud.points.iter().filter(|p| self.draws(p)).collect();
        let shown = points.len().min(MOST);
        (0..shown).map(|i| place(points[(i as u128 * points.len() as u128 / shown as u128) as usize])).collect()
    }

    fn notes(&self, sheet: &mut Sheet, panel: &Panel) {
        let total = panel.clouds.iter().map(|c| c.points.len()).sum();
        let drawable = |c: &Cloud| c.points.iter().filter(|p| self.draws(p)).count();
        let drawn: usize = panel.clouds.iter().map(drawable).sum();
        sheet.note_skipped(total - drawn, total, "points", self.x.log || self.y.log);
        for cloud in panel.clouds.iter().filter(|c| drawable(c) > MOST) {
            let name = if cloud.name.is_empty() { "a cloud" } else { &cloud.name };
            sheet.notes.push(format!("{name}: {MOST} of {} points are shown.", drawable(cloud)));
        }
    }
}
