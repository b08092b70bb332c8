//! One-sided Jacobi rotations: singular values of known matrices, however far apart, with the same bits on every device.

use realign::device::Device;
use realign::kernels::geometry::jacobi::{self, Columns, MAX_COLUMNS, Part};

use crate::common::{Rng, devices, gpu};

fn engines() -> Vec<Device> {
    let changed = |change: &dyn Fn(&mut realign::device::Capabilities)| gpu().with_capabilities(|c| change(c)).unwrap();
    let more = [changed(&|c| c.int64 = false), changed(&|c| (c.dispatch_flops, c.dispatch_bytes) = (64, 64))];
    [devices(), more.to_vec()].concat()
}

/// Columns `U diag(values) V`, `[n, rows]` by columns, with `more` numbers below that rotate along: those of V itself.
fn with_values(seed: u64, values: &[f64], rows: usize, more: usize) -> Vec<f64> {
    let n = values.len();
    let mut rng = Rng(seed);
    let mut basis = |count: usize, length: usize| {
        let mut all: Vec<Vec<f64>> = (0..count).map(|_| (0..length).map(|_| rng.normal()).collect()).collect();
        for i in 0..count {
            for _ in 0..2 {
                for j in 0..i {
                    let c: f64 = all[i].iter().zip(&all[j]).map(|(x, y)| x * y).sum();
                    let other = all[j].clone();
                    all[i].iter_mut().zip(other).for_each(|(x, y)| *x -= c * y);
                }
            }
            let norm = all[i].iter().map(|x| x * x).sum::<f64>().sqrt();
            all[i].iter_mut().for_each(|x| *x /= norm);
        }
        all
    };
    let (u, v) = (basis(n, rows), basis(n, n));
    let column = |j: usize| {
        let upper = (0..rows).map(|i| (0..n).map(|k| u[k][i] * values[k] * v[k][j]).sum::<f64>()).collect::<Vec<_>>();
        let lower = (0..more).map(|k| v[k][j]).collect::<Vec<_>>();
        [upper, lower].concat()
    };
    (0..n).flat_map(column).collect()
}

fn run(device: &Device, data: &[f64], (rows, more): (usize, usize), n: usize) -> (Vec<[f64; 2]>, Vec<u8>) {
    let columns = Columns::new(device, (rows, more), n).unwrap();
    columns.write(device, data).unwrap();
    let mut recorder = device.recorder();
    jacobi::record(&mut recorder, &columns, Part::R).unwrap();
    recorder.submit().unwrap();
    let words = columns.read_words_blocking(device, Part::R).unwrap()[..32 * n].to_vec();
    (columns.read_norms_blocking(device, Part::R).unwrap(), words)
}

#[test]
fn singular_values_of_known_matrices() {
    let spread: Vec<f64> = (0..9).map(|k| 10f64.powi(-k)).collect();
    let cases = [
        (vec![3.0], 1, 1),
        (vec![2.0, 0.5], 2, 2),
        (vec![1.0, 1.0, 0.25, 0.25, 0.25], 7, 5),
        (spread, 70, 9),
        ((1..=16).map(f64::from).collect(), 131, 16),
    ];
    for (values, rows, more) in cases {
        let n = values.len();
        let data = with_values(3, &values, rows, more);
        let mut bits = None;
        for device in engines() {
            let (mut norms, words) = run(&device, &data, (rows, more), n);
            norms.sort_by(|a, b| b[0].total_cmp(&a[0]));
            let mut want = values.clone();
            want.sort_by(|a, b| b.total_cmp(a));
            for ([got, beside], want) in norms.iter().zip(&want) {
                // The matrix itself was rounded to f64: 1e-16 of the largest.
                let error = (got - want).abs();
                assert!(error <= 1e-13 * want + 4e-16 * values[0], "{}: {got:e} for {want:e}", device.name());
                assert!((beside - 1.0).abs() < 1e-13, "what rotates along keeps its norm: {beside}");
            }
            assert!(*bits.get_or_insert_with(|| words.clone()) == words, "{} has other bits", device.name());
        }
    }
}

/// What rotates along beneath, deciding nothing, is V: the columns times V are those that came out.
#[test]
fn the_rotations_are_kept() {
    let values: Vec<f64> = (0..7).map(|k| 10f64.powi(-k)).collect();
    let (n, rows, more) = (7, 70, 5);
    let data = with_values(3, &values, rows, more);
    let mut first = None;
    for device in engines() {
        let columns = Columns::with_vectors(&device, (rows, more), n).unwrap();
        columns.write(&device, &data).unwrap();
        let mut recorder = device.recorder();
        jacobi::record(&mut recorder, &columns, Part::R).unwrap();
        recorder.submit().unwrap();
        let words = columns.read_words_blocking(&device, Part::R).unwrap()[..32 * n].to_vec();
        assert!(words == run(&device, &data, (rows, more), n).1, "{}: V decides nothing", device.name());
        let found = columns.read_blocking(&device).unwrap();
        for x in 0..n {
            for y in 0..n {
                let product: f64 = found[x].v.iter().zip(&found[y].v).map(|(a, b)| a * b).sum();
                assert!((product - f64::from(u8::from(x == y))).abs() < 1e-15, "{x}, {y}: {product}");
            }
            for row in 0..more {
                let want: f64 = (0..n).map(|j| found[x].v[j] * data[j * (rows + more) + rows + row]).sum();
                assert!((found[x].c[row] - want).abs() < 1e-15);
            }
        }
        assert!(*first.get_or_insert_with(|| found.clone()) == found, "{} has other bits", device.name());
    }
}

#[test]
fn zeros_and_columns_that_are_equal() {
    for device in engines() {
        let (norms, _) = run(&device, &[0.0; 12], (3, 1), 3);
        assert_eq!(norms, [[0.0; 2]; 3]);
        // Two equal columns and one of zeros: one singular value of √2 times their norm.
        let data = [3.0, 4.0, 0.0, 0.0, 3.0, 4.0];
        let (norms, _) = run(&device, &data, (2, 0), 3);
        let mut sines: Vec<f64> = norms.iter().map(|n| n[0]).collect();
        sines.sort_by(f64::total_cmp);
        assert!(sines[0] == 0.0 && sines[1] < 1e-15 && (sines[2] - 50f64.sqrt()).abs() < 1e-14, "{sines:?}");
    }
}

#[test]
fn what_does_not_fit() {
    for device in devices() {
        for (rows, more, n) in [(0, 1, 1), (1, 1, 0), (1, 0, MAX_COLUMNS + 1), (1 << 20, 0, 1), (1, 1 << 20, 1)] {
            assert!(Columns::new(&device, (rows, more), n).is_err(), "{rows}, {more}, {n}");
        }
        let columns = Columns::new(&device, (2, 1), 2).unwrap();
        let error = columns.write(&device, &[1.0; 5]).unwrap_err().to_string();
        assert!(error.contains('6') && error.contains('5'), "{error}");
        let stranger = Columns::new(&Device::host(), (2, 1), 2).unwrap();
        assert!(jacobi::record(&mut device.recorder(), &stranger, Part::R).is_err());
        let without = Columns::new(&device, (2, 0), 2).unwrap();
        assert!(jacobi::record(&mut device.recorder(), &without, Part::C).is_err());
    }
}
