//! What encoders need besides: patches of images, rows of a table added by id, and one row of a span of rows.

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::kernels::nn::patches::{self, Cut};
use realign::kernels::nn::pool::{self, Kind, Spans};
use realign::kernels::nn::{add_rows, embedding};

use crate::common::{Rng, devices};
use crate::nn::{SHAPES, normal, read, rubbish, run, tensor, wide, words, zeros};
use crate::rows::{U, check};

/// No channel to spare, patches of one pixel, of no multiple of 4 numbers, images that patches do not cover or that are one patch, images of two
/// different sides.
const CUTS: [Cut; 6] = [
    Cut { channels: 1, lines: 1, pixels: 1, side: 1 },
    Cut { channels: 3, lines: 5, pixels: 7, side: 1 },
    Cut { channels: 3, lines: 13, pixels: 9, side: 3 },
    Cut { channels: 2, lines: 8, pixels: 12, side: 4 },
    Cut { channels: 3, lines: 14, pixels: 14, side: 14 },
    Cut { channels: 3, lines: 43, pixels: 30, side: 7 },
];

#[test]
fn patches_of_all_shapes() {
    for device in devices() {
        for cut in CUTS {
            for n in [0, 1, 2, 7] {
                let Cut { channels, lines, pixels, side } = cut;
                let images: Vec<f32> = (0..n * cut.elements()).map(|i| (i % 2039) as f32).collect();
                let mut want = Vec::new();
                for (image, row) in (0..n).flat_map(|i| (0..lines / side).map(move |row| (i, row))) {
                    for (column, c, y) in (0..pixels / side)
                        .flat_map(|column| (0..channels).flat_map(move |c| (0..side).map(move |y| (column, c, y))))
                    {
                        let line = (image * channels + c) * lines + row * side + y;
                        want.extend_from_slice(&images[line * pixels + column * side..][..side]);
                    }
                }
                let rows = tensor(&device, &images, cut.elements());
                let out = rubbish(&device, n * cut.patches(), cut.width());
                let half = Tensor::new(&device, n * cut.patches(), cut.width(), ElementType::F16).unwrap();
                run(&device, |r| {
                    patches::record(r, cut, &rows, &out).unwrap();
                    patches::record(r, cut, &rows, &half).unwrap();
                });
                assert!(read(&device, &out) == want, "{} {n} {cut:?}", device.name());
                // Integers up to 2048 are f16.
                assert!(half.to_f32_blocking(&device).unwrap() == want, "{} {n} {cut:?}", device.name());
            }
        }
    }
}

#[test]
fn rows_of_a_table_are_added() {
    for device in devices() {
        for (n, d) in SHAPES {
            let (mut rng, table_rows) = (Rng(n as u64), 5);
            // An id beyond the table adds nothing.
            let ids: Vec<u32> = (0..n)
                .map(|_| [(rng.next() % 6) as u32, embedding::VISUAL][usize::from(rng.next() % 7 == 0)])
                .collect();
            let (table, y) = (normal(1, table_rows * d), normal(2, n * d));
            let (t, sums) = (tensor(&device, &table, d), tensor(&device, &y, d));
            let ids_on = words(&device, if n == 0 { &[0] } else { &ids });
            run(&device, |r| add_rows::record(r, &t, &ids_on, &sums).unwrap());
            let added = |i: usize| {
                let id = ids[i / d] as usize;
                if id < table_rows { table[id * d + i % d] } else { 0.0 }
            };
            let want: Vec<f32> = (0..n * d).map(|i| y[i] + added(i)).collect();
            assert_eq!(read(&device, &sums), want, "{} [{n}, {d}]", device.name());
        }
    }
}

#[test]
fn spans_are_pooled() {
    for device in devices() {
        for (n, d) in SHAPES.into_iter().filter(|(n, _)| *n > 0) {
            // All rows, one row, and what lies between, in any order and overlapping.
            let rows = n as u32;
            let list = [[0, rows], [rows - 1, 1], [rows / 3, rows - rows / 3], [rows / 2, 1]];
            let (x, spans) = (normal(n as u64, n * d), Spans::new(&device, &list).unwrap());
            let tx = tensor(&device, &x, d);
            for kind in [Kind::Mean, Kind::Max, Kind::RootMean] {
                let y = rubbish(&device, list.len(), d);
                run(&device, |r| pool::record(r, kind, &tx, &spans, &y).unwrap());
                let wide = wide(&x);
                let (mut want, mut bounds) = (Vec::new(), Vec::new());
                for ([first, count], j) in list.iter().flat_map(|span| (0..d).map(move |j| (*span, j))) {
                    let column = (first..first + count).map(|row| wide[row as usize * d + j]);
                    let size = column.clone().map(f64::abs).sum::<f64>();
                    let divisor = match kind {
                        Kind::Mean => f64::from(count),
                        _ => f64::from(count).sqrt(),
                    };
                    let top = column.clone().fold(f64::MIN, f64::max);
                    want.push(if kind == Kind::Max { top } else { column.sum::<f64>() / divisor });
                    // The sum's roundings, and those of the root and of the division.
                    let error = f64::from(count + 8) * U * size / divisor;
                    bounds.push(if kind == Kind::Max { 0.0 } else { error });
                }
                check(&read(&device, &y), &want, &bounds, &format!("{} [{n}, {d}] {kind:?}", device.name()));
            }
        }
    }
}

#[test]
fn a_nan_is_pooled_as_one() {
    for device in devices() {
        for place in 0..3 {
            let mut x = [1.0f32; 12];
            x[4 * place] = f32::NAN;
            let (tx, spans) = (tensor(&device, &x, 4), Spans::new(&device, &[[0, 3]]).unwrap());
            for kind in [Kind::Mean, Kind::Max, Kind::RootMean] {
                let y = rubbish(&device, 1, 4);
                run(&device, |r| pool::record(r, kind, &tx, &spans, &y).unwrap());
                let got = read(&device, &y);
                assert!(
                    got[0].is_nan() && got[1..].iter().all(|x| x.is_finite()),
                    "{} {kind:?} {got:?}",
                    device.name()
                );
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let t = |n, d| zeros(&device, n, d);
        let stranger = zeros(&Device::host(), 3, 8);
        let mut r = device.recorder();
        let cut = Cut { channels: 2, lines: 4, pixels: 4, side: 2 };
        for (cut, images, out) in [
            (cut, t(3, 31), t(12, 8)),
            (cut, t(3, 32), t(11, 8)),
            (cut, t(3, 32), t(12, 9)),
            (Cut { side: 0, ..cut }, t(3, 32), t(12, 8)),
            (Cut { side: 5, ..cut }, t(3, 32), t(12, 8)),
            (Cut { channels: 0, ..cut }, t(3, 32), t(12, 8)),
        ] {
            patches::record(&mut r, cut, &images, &out).unwrap_err();
        }
        let same = t(12, 8);
        patches::record(&mut r, Cut { channels: 8, lines: 1, pixels: 1, side: 1 }, &same, &same).unwrap_err();
        let ids = words(&device, &[0, 1, 2]);
        for (table, y) in [(t(0, 8), t(3, 8)), (t(3, 7), t(3, 8)), (t(3, 8), t(4, 8)), (stranger, t(3, 8))] {
            add_rows::record(&mut r, &table, &ids, &y).unwrap_err();
        }
        assert!(Spans::new(&device, &[[0, 0]]).is_err() && Spans::new(&device, &[[u32::MAX, 2]]).is_err());
        let spans = Spans::new(&device, &[[1, 2]]).unwrap();
        let other = Spans::new(&Device::host(), &[[1, 2]]).unwrap();
        pool::record(&mut r, Kind::Mean, &t(2, 8), &spans, &t(1, 8)).unwrap_err();
        pool::record(&mut r, Kind::Mean, &t(3, 8), &spans, &t(2, 8)).unwrap_err();
        pool::record(&mut r, Kind::Mean, &t(3, 8), &spans, &t(1, 9)).unwrap_err();
        pool::record(&mut r, Kind::Mean, &t(3, 8), &other, &t(1, 8)).unwrap_err();
        assert!(r.commands().is_empty());
    }
}
