//! Exact products of integers: against 128-bit integers on the host.

use realign::device::{Command, Device};
use realign::kernels::linalg::exact_product::{self, Digits, LARGEST, MAX_ROWS, Placement, Sums};

use crate::common::{Rng, devices, gpu};

pub const UPPER: Placement = Placement { upper: true, words_up: 0 };

/// Integers of up to 43 bits, the extremes among them.
pub fn integers(seed: u64, n: usize) -> Vec<f64> {
    let mut rng = Rng(seed);
    let one = |rng: &mut Rng| match rng.next() % 8 {
        0 => LARGEST,
        1 => -LARGEST,
        2 => (rng.next() % 257) as f64 - 128.0,
        _ => ((2.0 * rng.uniform() - 1.0) * LARGEST).round(),
    };
    (0..n).map(|_| one(&mut rng)).collect()
}

/// `Aᵀ B`, `[m, n]`, of `[k, m]` and `[k, n]`.
pub fn product(a: &[f64], m: usize, b: &[f64], n: usize) -> Vec<i128> {
    let mut sums = vec![0i128; m * n];
    for (a, b) in a.chunks_exact(m).zip(b.chunks_exact(n)) {
        for (i, x) in a.iter().enumerate() {
            b.iter().enumerate().for_each(|(j, y)| sums[i * n + j] += *x as i128 * *y as i128);
        }
    }
    sums
}

pub fn read(device: &Device, sums: &Sums, (m, n): (usize, usize)) -> Vec<i128> {
    let mut all = Vec::with_capacity(m * n);
    sums.read_blocking(device, |_, row| all.extend_from_slice(&row[..n])).unwrap();
    all
}

/// Reading textures and buffers, sums in one band and in many, dispatches whole and in parts.
fn variants() -> Vec<Device> {
    let changed = |change: &dyn Fn(&mut realign::device::Capabilities)| gpu().with_capabilities(|c| change(c)).unwrap();
    let more = [
        changed(&|c| c.texel_reads = false),
        changed(&|c| c.max_binding = 1 << 15),
        changed(&|c| (c.dispatch_flops, c.dispatch_bytes) = (64, 64)),
    ];
    [devices(), more.to_vec()].concat()
}

#[test]
fn shapes() {
    for device in variants() {
        for (k, m, n) in [(1, 1, 1), (3, 2, 5), (4, 4, 4), (5, 7, 33), (130, 18, 9), (67, 40, 66), (1030, 3, 4)] {
            let (a, b) = (integers(1, k * m), integers(2, k * n));
            let [mut left, mut right] = [m, n].map(|width| Digits::new(&device, k + 3, width).unwrap());
            let sums = Sums::new(&device, m, n).unwrap();
            // In two blocks of rows.
            let cut = k / 3;
            for rows in [0..cut, cut..k] {
                left.write(&device, &a[rows.start * m..rows.end * m]).unwrap();
                right.write(&device, &b[rows.start * n..rows.end * n]).unwrap();
                let mut recorder = device.recorder();
                exact_product::record(&mut recorder, &left, &right, Placement::default(), &sums).unwrap();
                recorder.submit().unwrap();
            }
            assert!(read(&device, &sums, (m, n)) == product(&a, m, &b, n), "{} [{k}, {m}] [{k}, {n}]", device.name());
        }
    }
}

/// Products of parts, 32 and 64 bits up, below zero and above.
#[test]
fn products_of_upper_parts() {
    for device in variants() {
        let (k, m, n) = (9, 3, 6);
        let part = |seed, count| integers(seed, count).into_iter().map(|x| (x / 2048.0).round()).collect::<Vec<f64>>();
        let (a, b) = (part(5, k * m), part(6, k * n));
        let [mut left, mut right] = [m, n].map(|width| Digits::new(&device, k, width).unwrap());
        left.write(&device, &a).unwrap();
        right.write(&device, &b).unwrap();
        let sums = Sums::new(&device, m, n).unwrap();
        let mut recorder = device.recorder();
        for words_up in 0..3 {
            exact_product::record(&mut recorder, &left, &right, Placement { upper: false, words_up }, &sums).unwrap();
        }
        let more = Placement { upper: false, words_up: 3 };
        assert!(exact_product::record(&mut recorder, &left, &right, more, &sums).is_err());
        recorder.submit().unwrap();
        let all = |x: i128| x.wrapping_add(x << 32).wrapping_add(x << 64);
        let want: Vec<i128> = product(&a, m, &b, n).into_iter().map(all).collect();
        assert!(read(&device, &sums, (m, n)) == want, "{}", device.name());
    }
}

#[test]
fn upper_halves_leave_the_rest() {
    for device in variants() {
        for (k, n) in [(1, 1), (9, 5), (40, 34), (21, 67)] {
            let a = integers(3, k * n);
            let mut digits = Digits::new(&device, k, n).unwrap();
            digits.write(&device, &a).unwrap();
            let sums = Sums::new(&device, n, n).unwrap();
            let mut recorder = device.recorder();
            exact_product::record(&mut recorder, &digits, &digits, UPPER, &sums).unwrap();
            recorder.submit().unwrap();
            let want = product(&a, n, &a, n);
            for (at, got) in read(&device, &sums, (n, n)).into_iter().enumerate() {
                let expected = if at % n >= at / n { want[at] } else { 0 };
                assert_eq!(got, expected, "{} [{k}, {n}]: ({}, {})", device.name(), at / n, at % n);
            }
            let mut recorder = device.recorder();
            sums.clear(&mut recorder);
            recorder.submit().unwrap();
            assert!(read(&device, &sums, (n, n)).iter().all(|x| *x == 0));
        }
    }
}

/// As many rows as fit, of the largest magnitudes with equal signs: no sum of 32 bits runs over, and 86 bits and more are carried.
#[test]
fn the_largest_sums() {
    let k = MAX_ROWS;
    for device in devices() {
        for value in [LARGEST, -LARGEST, LARGEST - 1.0, 0x80_8080_8080_u64 as f64, 1.0] {
            let a = vec![value; k];
            let mut digits = Digits::new(&device, k, 1).unwrap();
            digits.write(&device, &a).unwrap();
            let sums = Sums::new(&device, 1, 1).unwrap();
            let mut recorder = device.recorder();
            exact_product::record(&mut recorder, &digits, &digits, Placement::default(), &sums).unwrap();
            exact_product::record(&mut recorder, &digits, &digits, UPPER, &sums).unwrap();
            recorder.submit().unwrap();
            assert_eq!(read(&device, &sums, (1, 1)), [2 * k as i128 * (value as i128).pow(2)], "{value}");
        }
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let says = |result: realign::Result<()>, word: &str| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        let digits = |rows, width| Digits::new(&device, rows, width);
        assert!(digits(0, 4).is_err() && digits(4, 0).is_err() && digits(MAX_ROWS + 1, 4).is_err());
        assert!(
            digits(4, 1 << 20).is_err() && Sums::new(&device, 0, 3).is_err() && Sums::new(&device, 3, 1 << 20).is_err()
        );
        let (mut a, mut b) = (digits(4, 2).unwrap(), digits(4, 3).unwrap());
        says(a.write(&device, &[1.0; 10]), "rows of 2");
        says(a.write(&device, &[1.0; 3]), "rows of 2");
        says(a.write(&device, &[1.0, 2.0, 0.5, 1.0]), "row 1, column 0");
        says(a.write(&device, &[1.0, f64::NAN]), "column 1");
        says(a.write(&device, &[LARGEST + 1.0, 0.0]), "43 bits");
        a.write(&device, &[1.0; 4]).unwrap();
        b.write(&device, &[1.0; 9]).unwrap();
        let sums = Sums::new(&device, 2, 3).unwrap();
        let mut recorder = device.recorder();
        says(exact_product::record(&mut recorder, &a, &b, Placement::default(), &sums), "operands");
        b.write(&device, &[1.0; 6]).unwrap();
        says(exact_product::record(&mut recorder, &b, &a, Placement::default(), &sums), "operands");
        exact_product::record(&mut recorder, &a, &b, Placement::default(), &sums).unwrap();
        let square = Sums::new(&device, 2, 2).unwrap();
        let mut other = digits(4, 2).unwrap();
        other.write(&device, &[1.0; 4]).unwrap();
        says(exact_product::record(&mut recorder, &a, &other, UPPER, &square), "one matrix");
        let other_device = Device::host();
        let mut stranger = Digits::new(&other_device, 4, 2).unwrap();
        stranger.write(&other_device, &[1.0; 4]).unwrap();
        says(exact_product::record(&mut recorder, &stranger, &b, Placement::default(), &sums), "device");
        // No rows: nothing to do.
        let mut idle = device.recorder();
        let (mut none, mut nothing) = (digits(4, 2).unwrap(), digits(4, 3).unwrap());
        none.write(&device, &[]).unwrap();
        nothing.write(&device, &[]).unwrap();
        exact_product::record(&mut idle, &none, &nothing, Placement::default(), &sums).unwrap();
        assert!(idle.commands().iter().all(|c| !matches!(c, Command::Dispatch(_))));
    }
}
