//! Axes and the scales behind them: what values can be drawn, where they fall, and which ticks name them.

use super::text;

/// One axis of a chart: a label with its unit, linear or logarithmic.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub(super) label: String,
    pub(super) log: bool,
    pub(super) including: Vec<f64>,
}

impl Axis {
    /// A linear axis; name the unit in the label, as in `time (s)`.
    pub fn linear(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), log: false, including: Vec::new() }
    }

    /// A logarithmic axis. Values that are not above 0 cannot be drawn on it; the chart says how many there were.
    pub fn log(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), log: true, including: Vec::new() }
    }

    /// Extends the axis to reach `value` whatever the data, as in `including(0.0)`; ignored where it cannot be drawn.
    pub fn including(mut self, value: f64) -> Axis {
        self.including.push(value);
        self
    }

    /// Whether `value` has a place on this axis: finite, above 0 if logarithmic, and not so extreme that differences
    /// overflow.
    pub(super) fn draws(&self, value: f64) -> bool {
        value.is_finite() && value.abs() <= 1e300 && (!self.log || value >= 1e-300)
    }

    /// The scale that shows all drawable `values`, spread over the pixels `from..to`.
    pub(super) fn scale(&self, values: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Scale {
        let transform = |v: f64| if self.log { v.log10() } else { v };
        let extent = |values: &mut dyn Iterator<Item = f64>| {
            values.filter(|&v| self.draws(v)).map(transform).fold(None, |seen: Option<(f64, f64)>, v| {
                Some(seen.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
            })
        };
        let data = extent(&mut values.into_iter());
        let asked = extent(&mut self.including.iter().copied());
        let (mut low, mut high) = match (data, asked) {
            (None, None) => (0.0, 1.0),
            (None, Some(range)) => range,
            (Some(range), asked) => {
                let (low, high) = padded(range, self.log);
                asked.map_or((low, high), |(least, most)| {
                    // Where the data stays within what was asked for, nothing is added.
                    let low = if least <= range.0 { least } else { low };
                    let high = if most >= range.1 { most } else { high };
                    (low, high)
                })
            }
        };
        // Exponents are compared as they are: a difference of theirs is a ratio of the values.
        let size = if self.log { 1.0 } else { low.abs().max(high.abs()) };
        if high - low <= 1e-9 * size || high - low < 1e-290 {
            (low, high) = widened(low, self.log);
        }
        Scale { log: self.log, low, high, from, to }
    }
}

/// A little air on both sides, but none beyond a zero that the data does not cross.
fn padded((low, high): (f64, f64), log: bool) -> (f64, f64) {
    let air = 0.03 * (high - low);
    let keep_zero = |edge: f64, padded: f64| if !log && edge * padded <= 0.0 { 0.0 } else { padded };
    (keep_zero(low, low - air), keep_zero(high, high + air))
}

/// The surroundings of a single value.
fn widened(value: f64, log: bool) -> (f64, f64) {
    let air = if log || value.abs() < 1e-250 { 0.5 } else { 0.05 * value.abs() };
    (value - air, value + air)
}

/// A mark on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    /// Empty for a minor tick.
    pub(super) label: String,
}

/// Where values fall.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    log: bool,
    /// Ends of the axis: exponents of ten where logarithmic.
    pub(super) low: f64,
    pub(super) high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// The pixel of a value that the axis can draw, never outside of the axis.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.place(if self.log { value.log10() } else { value })
    }

    fn place(&self, v: f64) -> f64 {
        self.from + ((v - self.low) / (self.high - self.low)).clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// The same scale over other pixels.
    pub(super) fn over(mut self, from: f64, to: f64) -> Scale {
        (self.from, self.to) = (from, to);
        self
    }

    /// The same pixels for a range `factor` times as wide, centred as before.
    pub(super) fn stretched(mut self, factor: f64) -> Scale {
        let (middle, half) = (0.5 * (self.low + self.high), 0.5 * (self.high - self.low) * factor);
        (self.low, self.high) = (middle - half, middle + half);
        self
    }

    /// Major and minor ticks, about `count` major ones.
    pub(super) fn ticks(&self, count: usize) -> Vec<Tick> {
        if self.log { self.log_ticks(count) } else { self.linear_ticks(count) }
    }

    /// Ticks for a horizontal axis: as many of about `count` as leave their labels apart at that text size.
    pub(super) fn ticks_apart(&self, count: usize, size: f64, within: (f64, f64)) -> Vec<Tick> {
        for count in (2..=count).rev() {
            let ticks = self.ticks(count);
            let mut edge = f64::NEG_INFINITY;
            let apart = ticks.iter().filter(|t| !t.label.is_empty()).all(|tick| {
                let half = 0.5 * text::width(&tick.label, size);
                let centre = centred(tick.at, half, within);
                let free = centre - half > edge;
                edge = centre + half + size;
                free
            });
            if apart {
                return ticks;
            }
        }
        // Not even two have room: name one.
        self.ticks(2).into_iter().filter(|t| !t.label.is_empty()).take(1).collect()
    }

    fn linear_ticks(&self, count: usize) -> Vec<Tick> {
        let step = nice_step((self.high - self.low) / count.max(1) as f64);
        let (first, last) = ((self.low / step - 1e-6).ceil(), (self.high / step + 1e-6).floor());
        let values: Vec<f64> =
            (0..=(last - first).clamp(0.0, 100.0) as u32).map(|i| (first + i as f64) * step).collect();
        let labels = labels(&values, step);
        values.iter().zip(labels).map(|(&v, label)| Tick { at: self.place(v), label }).collect()
    }

    fn log_ticks(&self, count: usize) -> Vec<Tick> {
        let (first, last) = ((self.low - 1e-9).ceil() as i32, (self.high + 1e-9).floor() as i32);
        let decades = (last - first + 1).max(0) as usize;
        if decades < 3 {
            return self.narrow_log_ticks(count);
        }
        let stride = decades.div_ceil(count.max(2)) as i32;
        let plain = first >= -2 && last <= 4;
        let mut ticks = Vec::new();
        for power in first - 1..=last {
            let named = power.rem_euclid(stride) == 0;
            // Beyond some number, nameless ticks would be a smear.
            if power >= first && (named || decades <= 15) {
                let label = if !named {
                    String::new()
                } else if plain || power == 0 {
                    text::number(10f64.powi(power))
                } else {
                    text::power_of_ten(power)
                };
                ticks.push(Tick { at: self.place(power as f64), label });
            }
            if decades <= 5 {
                ticks.extend(self.between_powers(power));
            }
        }
        ticks
    }

    /// Unnamed ticks at 2, 3, … 9 times a power of ten, where they are on the axis.
    fn between_powers(&self, power: i32) -> impl Iterator<Item = Tick> + '_ {
        (2..10)
            .map(move |i| power as f64 + (i as f64).log10())
            .filter(|p| (self.low..=self.high).contains(p))
            .map(|p| Tick { at: self.place(p), label: String::new() })
    }

    /// Less than three powers of ten: 1, 2, 5, 10, …, or evenly spaced values where even those are too few.
    fn narrow_log_ticks(&self, count: usize) -> Vec<Tick> {
        let (low, high) = (10f64.powf(self.low), 10f64.powf(self.high));
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        for factors in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
            let candidates = powers.clone().flat_map(|p| factors.iter().map(move |f: &f64| f * 10f64.powi(p)));
            let values: Vec<f64> = candidates.filter(|v| (low..=high).contains(v)).collect();
            if (2..=count.max(2)).contains(&values.len()) {
                let tick = |&v: &f64| Tick { at: self.place(v.log10()), label: text::number(v) };
                return values.iter().map(tick).collect();
            }
        }
        let step = nice_step((high - low) / count.max(2) as f64);
        let first = (low / step).ceil();
        let values: Vec<f64> = (0..100).map(|i| (first + i as f64) * step).take_while(|&v| v <= high).collect();
        let labels = labels(&values, step);
        values.iter().zip(labels).map(|(v, label)| Tick { at: self.place(v.log10()), label }).collect()
    }
}

/// Where to centre a label of that half width so that it stays within the limits.
pub(super) fn centred(at: f64, half: f64, (least, most): (f64, f64)) -> f64 {
    at.min(most - half).max(least + half)
}

/// 1, 2 or 5 times a power of ten, not below `raw`.
fn nice_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= raw * (1.0 - 1e-9)).unwrap_or(10.0);
    factor * power
}

/// Equal decimals for all, and a common power of ten where plain digits would be long.
fn labels(values: &[f64], step: f64) -> Vec<String> {
    let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let power = if largest > 0.0 { text::exponent(largest * (1.0 + 1e-12), 6) } else { 0 };
    let common = if (-3..=5).contains(&power) { 0 } else { power };
    let unit = 10f64.powi(common.clamp(-300, 300));
    let decimals = (common - (step * (1.0 + 1e-9)).log10().floor() as i32).clamp(0, 12) as usize;
    let label = |&v: &f64| {
        let digits = text::fixed(v / unit, decimals);
        if common == 0 {
            digits
        } else if v.abs() < 0.5 * step {
            "0".to_string()
        } else {
            format!("{digits}×{}", text::power_of_ten(common))
        }
    };
    values.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().filter(|t| !t.label.is_empty()).map(|t| t.label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        let scale = Axis::linear("").including(0.0).including(1.0).scale([0.3], 0.0, 100.0);
        assert_eq!(named(&scale.ticks(5)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(scale.ticks(5)[5].at, 100.0);
        let scale = Axis::linear("").including(0.0).including(4e-6).scale([], 0.0, 100.0);
        assert_eq!(named(&scale.ticks(4)), ["0", "1×10⁻⁶", "2×10⁻⁶", "3×10⁻⁶", "4×10⁻⁶"]);
        let scale = Axis::linear("").including(-50_000.0).including(50_000.0).scale([], 0.0, 100.0);
        assert_eq!(named(&scale.ticks(2)), ["−50,000", "0", "50,000"]);
    }

    #[test]
    fn log_ticks_are_powers() {
        let scale = Axis::log("").including(1e-6).including(1.0).scale([], 0.0, 100.0);
        assert_eq!(named(&scale.ticks(7)), ["10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "1"]);
        assert_eq!(named(&scale.ticks(4)), ["10⁻⁶", "10⁻⁴", "10⁻²", "1"]);
        let scale = Axis::log("").including(1.0).including(1000.0).scale([], 0.0, 90.0);
        assert_eq!(named(&scale.ticks(5)), ["1", "10", "100", "1000"]);
        assert!((scale.at(10.0) - 30.0).abs() < 1e-9);
        let scale = Axis::log("").including(2.0).including(40.0).scale([], 0.0, 90.0);
        assert_eq!(named(&scale.ticks(5)), ["2", "5", "10", "20"]);
        let scale = Axis::log("").including(2.0).including(3.0).scale([], 0.0, 90.0);
        assert_eq!(named(&scale.ticks(5)), ["2.0", "2.2", "2.4", "2.6", "2.8", "3.0"]);
    }

    #[test]
    fn every_range_has_finite_ticks() {
        let ends = [0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, f64::MAX, 5e-324, 1.0 + 1e-13, 3.7e-9, f64::NAN];
        for low in ends {
            for high in ends {
                for axis in [Axis::linear(""), Axis::log("")] {
                    let scale = axis.scale([low, high], 10.0, 400.0);
                    let ticks = scale.ticks_apart(7, 12.0, (0.0, 420.0));
                    assert!(ticks.len() <= 60, "{low} {high} {ticks:?}");
                    assert!(named(&ticks).len() <= 12, "{low} {high} {ticks:?}");
                    assert!(!named(&ticks).is_empty(), "{low} {high} {axis:?} {scale:?}");
                    assert!(ticks.iter().all(|t| (10.0..=400.0).contains(&t.at)), "{low} {high} {ticks:?}");
                    for v in [low, high] {
                        assert!(!axis.draws(v) || (10.0..=400.0).contains(&scale.at(v)), "{low} {high} {v}");
                    }
                }
            }
        }
    }
}
