//! Cholesky QR on both engines: orthogonality, spans, and what breaks it down.

use realign::device::{Device, Tensor};
use realign::geometry::orthonormal::CholeskyQr;

use crate::common::{Rng, devices};

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn random(seed: u64, b: usize, d: usize) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..b * d).map(|_| rng.normal() as f32).collect()
}

/// The result and the rows left where they were given, of `rows` `[b, d]`.
fn run(device: &Device, rows: &[f32], d: usize) -> (Option<Vec<f64>>, Vec<f64>) {
    let b = rows.len() / d;
    let blocks = [Tensor::from_f32(device, rows, d).unwrap(), Tensor::from_f32(device, &vec![0.0; b * d], d).unwrap()];
    let found = CholeskyQr::new(device, b).unwrap().orthonormalise([&blocks[0], &blocks[1]]).unwrap();
    let read = |i: usize| blocks[i].to_f32_blocking(device).unwrap().into_iter().map(f64::from).collect();
    (found.map(read), read(0))
}

/// What a product's sum of d terms and one of b may err by, four times: the smallest squared sine of a last pass is a quarter.
fn bound(b: usize, d: usize) -> f64 {
    4.0 * ((d + b) as f64 / 4.0 + 46.0) * 6e-8
}

/// Orthonormal, and row i of `rows` in the span of the first i.
fn verify(found: &[f64], rows: &[f32], d: usize, condition: f64, what: &str) {
    let (b, bound) = (rows.len() / d, bound(rows.len() / d, d));
    let q: Vec<&[f64]> = found.chunks_exact(d).collect();
    for i in 0..b {
        for j in 0..=i {
            let off = (dot(q[i], q[j]) - f64::from(u8::from(i == j))).abs();
            assert!(off <= bound, "{what}: ({i}, {j}) off orthonormal by {off:e}, allowed {bound:e}");
        }
        let row: Vec<f64> = rows[i * d..(i + 1) * d].iter().map(|&x| f64::from(x)).collect();
        let mut rest = row.clone();
        // Twice, since the directions are orthonormal to rounding alone.
        for direction in q[..=i].iter().chain(&q[..=i]) {
            let along = dot(direction, &rest);
            rest.iter_mut().zip(*direction).for_each(|(r, u)| *r -= along * u);
        }
        let off = (dot(&rest, &rest) / dot(&row, &row)).sqrt();
        assert!(off <= bound * condition, "{what}: row {i} off its span by {off:e}");
        // With a positive part of its own.
        assert!(dot(q[i], &row) > 0.0, "{what}: sign of {i}");
    }
}

#[test]
fn random_rows_of_all_shapes_and_sizes() {
    for device in devices() {
        for (b, d) in [(1, 1), (1, 7), (2, 3), (5, 64), (17, 40), (40, 97), (80, 301)] {
            let rows = random(b as u64, b, d);
            let what = format!("{} [{b}, {d}]", device.name());
            verify(&run(&device, &rows, d).0.expect(&what), &rows, d, 1.0, &what);
            // Rows of sizes far from each other: as a filter leaves them.
            let scaled: Vec<f32> =
                rows.iter().enumerate().map(|(at, x)| x * 10f32.powi((at / d % 13) as i32 - 6)).collect();
            verify(&run(&device, &scaled, d).0.expect(&what), &scaled, d, 1.0, &format!("{what} scaled"));
        }
    }
}

#[test]
fn rows_close_to_each_other_take_more_passes() {
    let (b, d) = (12, 200);
    let own = random(7, b, d);
    for device in devices() {
        for closeness in [0.3f32, 0.05] {
            // All close to the first, whose parts of their own are small.
            let rows: Vec<f32> =
                own.iter().enumerate().map(|(at, x)| if at < d { *x } else { own[at % d] + closeness * x }).collect();
            let found = run(&device, &rows, d).0.expect("independent");
            verify(&found, &rows, d, 1.0 / f64::from(closeness), &format!("{} {closeness}", device.name()));
        }
    }
}

#[test]
fn dependent_and_bad_rows_are_left_for_another_way() {
    let (b, d) = (6, 50);
    for device in devices() {
        let rows = random(3, b, d);
        let changed = |change: &dyn Fn(&mut [f32])| {
            let mut bad = rows.clone();
            change(&mut bad);
            bad
        };
        let twice = changed(&|r| r.copy_within(0..d, 3 * d));
        let near = changed(&|r| (0..d).for_each(|j| r[5 * d + j] = r[j] + 2.0 * r[d + j] + 1e-6 * r[2 * d + j]));
        let zero = changed(&|r| r[d..2 * d].fill(0.0));
        for dependent in [twice, near, zero] {
            let (found, left) = run(&device, &dependent, d);
            assert!(found.is_none(), "{}", device.name());
            assert!(left.iter().zip(&dependent).all(|(a, &b)| *a == f64::from(b)), "left as they were");
        }
        assert!(run(&device, &changed(&|r| r[70] = f32::NAN), d).0.is_none());
        assert!(run(&device, &changed(&|r| r[70] = 1e30), d).0.is_none(), "a square beyond f32");
        let tensor = |b: usize, d: usize| Tensor::from_f32(&device, &random(1, b, d), d).unwrap();
        let qr = CholeskyQr::new(&device, 3).unwrap();
        for (x, y) in [((3, 5), (3, 6)), ((4, 5), (4, 5)), ((3, 2), (3, 2)), ((3, 5), (4, 5))] {
            let error = qr.orthonormalise([&tensor(x.0, x.1), &tensor(y.0, y.1)]).unwrap_err().to_string();
            assert!(error.contains("two blocks of 3 rows"), "{error}");
        }
    }
}
