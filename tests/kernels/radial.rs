//! Lengths in planes, mapped.

use realign::device::{Device, Recorder, Tensor};
use realign::host::align::radial::{Knots, stretch};
use realign::kernels::align::radial::{Planes, record};
use realign::{ElementType, Error};

use crate::common::devices;
use crate::golden::golden;
use crate::nn::{normal, read, run, tensor, wide, zeros};
use crate::rows::{U, check, variants};

/// An offset and two tables whose slopes are from some 0.3 to 3, none flat but where the target's is.
struct Tables {
    offset: Vec<f64>,
    source: Vec<f64>,
    target: Vec<f64>,
    knots: usize,
}

impl Tables {
    fn new(planes: usize, knots: usize) -> Self {
        let step = 3.0 / knots as f64;
        let at = |k: usize| (k / knots, (k % knots) as f64);
        let source =
            (0..planes * knots).map(at).map(|(p, i)| 0.1 * (p % 7) as f64 + step * (i + 0.3 * (i * 1.7).sin()));
        let target =
            (0..planes * knots).map(at).map(|(p, i)| 0.2 + step * (i + 0.5 + 0.5 * (i + p as f64).sin()).floor());
        let single = |x: f64| f64::from(x as f32);
        let offset = (0..2 * planes).map(|i| single((i as f64 * 0.7).sin() * 0.3));
        Tables {
            offset: offset.collect(),
            source: source.map(single).collect(),
            target: target.map(single).collect(),
            knots,
        }
    }

    fn on(&self, device: &Device) -> Planes {
        Planes::new(device, &self.offset, (&self.source, &self.target)).unwrap()
    }

    /// The largest slope of any plane.
    fn slope(&self) -> f64 {
        let tables = self.source.chunks_exact(self.knots).zip(self.target.chunks_exact(self.knots));
        let slope =
            |(s, t): (&[f64], &[f64])| (1..s.len()).map(|i| (t[i] - t[i - 1]) / (s[i] - s[i - 1])).fold(0.0, f64::max);
        tables.map(slope).fold(1.0, f64::max)
    }

    /// By angles, and knot by knot.
    fn reference(&self, rows: &[f32]) -> Vec<f64> {
        let mut out = Vec::new();
        for row in rows.chunks_exact(self.offset.len()) {
            for (plane, pair) in row.chunks_exact(2).enumerate() {
                let c = [0, 1].map(|i| f64::from(pair[i]) + self.offset[2 * plane + i]);
                let length = self.length(plane, (c[0] * c[0] + c[1] * c[1] + 1e-12).sqrt());
                let angle = c[1].atan2(c[0]);
                out.extend([length * angle.cos(), length * angle.sin()]);
            }
        }
        out
    }

    fn length(&self, plane: usize, length: f64) -> f64 {
        let [from, to] = [&self.source, &self.target].map(|table| &table[plane * self.knots..][..self.knots]);
        let within = (1..self.knots).find(|&i| from[i - 1] <= length && length < from[i]);
        match within {
            Some(i) => to[i - 1] + (length - from[i - 1]) / (from[i] - from[i - 1]) * (to[i] - to[i - 1]),
            None if length < from[0] => to[0],
            None => to[self.knots - 1],
        }
    }

    /// A length is off by some 4 roundings of its coordinates, which the slope multiplies; what comes of it is rounded some 8 times. A coordinate's
    /// own error matters by as much as the length grows.
    fn bounds(&self, rows: &[f32]) -> Vec<f64> {
        let slope = self.slope();
        let pair = |(plane, pair): (usize, &[f32])| {
            let c = [0, 1].map(|i| f64::from(pair[i]).abs() + self.offset[2 * plane + i].abs());
            let moved = [0, 1].map(|i| f64::from(pair[i]) + self.offset[2 * plane + i]);
            let short = moved[0].hypot(moved[1]).max(1e-30);
            let length = self.length(plane, short);
            // A direction is off by as much as a coordinate is rounded, over the length.
            let bound = U * (6.0 * slope * (c[0] + c[1] + 3.0) + length * (8.0 + 2.0 * (c[0] + c[1]) / short));
            [bound; 2]
        };
        let planes = self.offset.len() / 2;
        rows.chunks_exact(2).enumerate().flat_map(|(i, c)| pair((i % planes, c))).collect()
    }
}

/// One dispatch of the kernel, for the tests of all kernels.
pub fn record_all(device: &Device, r: &mut Recorder) {
    let coordinates = tensor(device, &normal(5, 200 * 12), 12);
    record(r, &Tables::new(6, 5).on(device), &coordinates, 200).unwrap();
}

const SHAPES: [(usize, usize); 7] = [(0, 4), (1, 1), (1, 32), (7, 3), (65, 65), (257, 9), (131, 640)];

#[test]
fn shapes_knots_and_variants() {
    for (name, device) in variants() {
        for (n, planes) in SHAPES {
            for knots in [1, 2, 3, 64, 65, 1025] {
                let tables = Tables::new(planes, knots);
                let rows = normal(n as u64 + 3, n * 2 * planes);
                let x = tensor(&device, &rows, 2 * planes);
                run(&device, |r| record(r, &tables.on(&device), &x, n).unwrap());
                let what = format!("{name} [{n}, {planes}] {knots}");
                check(&read(&device, &x), &tables.reference(&rows), &tables.bounds(&rows), &what);
            }
        }
    }
}

#[test]
fn rows_beyond_those_asked_for_stay() {
    for device in devices() {
        let (tables, rows) = (Tables::new(3, 9), normal(4, 30));
        let x = tensor(&device, &rows, 6);
        run(&device, |r| record(r, &tables.on(&device), &x, 3).unwrap());
        let got = read(&device, &x);
        assert_eq!(got[18..], rows[18..]);
        check(&got[..18], &tables.reference(&rows[..18]), &tables.bounds(&rows[..18]), device.name());
    }
}

/// Lengths at and beyond the ends, equal knots, points without direction and rows without numbers.
#[test]
fn ends_and_ties() {
    let tables =
        Tables { offset: vec![0.0; 2], source: vec![0.5, 1.0, 1.0, 2.0], target: vec![1.0, 2.0, 3.0, 4.0], knots: 4 };
    // At two equal knots the later one counts.
    let cases = [(0.0f32, 1.0f32), (0.1, 1.0), (0.5, 1.0), (0.75, 1.5), (1.0, 3.0), (1.5, 3.5), (2.0, 4.0), (9.0, 4.0)];
    let rows: Vec<f32> = cases.iter().flat_map(|(length, _)| [0.0, -length]).collect();
    for device in devices() {
        let planes = Planes::new(&device, &tables.offset, (&tables.source, &tables.target)).unwrap();
        let x = tensor(&device, &rows, 2);
        run(&device, |r| record(r, &planes, &x, cases.len()).unwrap());
        for (got, (length, want)) in read(&device, &x).chunks_exact(2).zip(cases) {
            let want = if length == 0.0 { [want, 0.0] } else { [0.0, -want] };
            assert!((0..2).all(|i| (got[i] - want[i]).abs() < 2e-6), "{}: {length} {got:?}", device.name());
        }
        let x = tensor(&device, &[f32::NAN, 1.0, 0.5, 0.5], 2);
        run(&device, |r| record(r, &planes, &x, 2).unwrap());
        let got = read(&device, &x);
        assert!(got[0].is_nan() && got[2].is_finite(), "{}: {got:?}", device.name());
    }
}

#[test]
fn the_twin_in_f64_is_the_reference_s() {
    let [offset, source, target] = ["offset", "lengths_y", "lengths_x"].map(|name| golden("anisoalign", name));
    let (mut coordinates, want) = (golden("anisoalign", "coordinates"), golden("anisoalign", "stretched"));
    let knots = source.len() / (offset.len() / 2);
    let single: Vec<f32> = coordinates.iter().map(|&x| x as f32).collect();
    stretch(&Knots { offset: &offset, source: &source, target: &target, knots }, &mut coordinates, offset.len());
    // Some 8 roundings of lengths below 1, by the steepest slope: knots are as close as rows happen to lie.
    let steepest = Tables { offset: offset.clone(), source: source.clone(), target: target.clone(), knots }.slope();
    let bound = |unit: f64| 8.0 * unit * (1.0 + steepest);
    crate::common::max_difference(&coordinates, &want, bound(f64::EPSILON)).unwrap();
    for device in devices() {
        let planes = Planes::new(&device, &offset, (&source, &target)).unwrap();
        let x = tensor(&device, &single, offset.len());
        run(&device, |r| record(r, &planes, &x, x.rows()).unwrap());
        crate::common::max_difference(&wide(&read(&device, &x)), &want, bound(U)).unwrap();
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let tables = Tables::new(3, 5);
        let (planes, stranger) = (tables.on(&device), tables.on(&Device::host()));
        let half = Tensor::new(&device, 4, 6, ElementType::F16).unwrap();
        let mut r = device.recorder();
        for (planes, x, rows) in [
            (&planes, &zeros(&device, 4, 8), 4),
            (&planes, &zeros(&device, 4, 6), 5),
            (&planes, &half, 4),
            (&planes, &zeros(&Device::host(), 4, 6), 4),
            (&stranger, &zeros(&device, 4, 6), 4),
        ] {
            let error = record(&mut r, planes, x, rows).unwrap_err();
            assert!(matches!(error, Error::Shape { .. }), "{error}");
        }
        assert!(r.commands().is_empty());
        for (offset, source, target) in [(3, 6, 6), (0, 0, 0), (2, 0, 0), (4, 5, 5), (2, 3, 4)] {
            let numbers = |count: usize| vec![0.5; count];
            assert!(Planes::new(&device, &numbers(offset), (&numbers(source), &numbers(target))).is_err());
        }
    }
}
