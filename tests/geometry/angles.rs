//! Principal angles, on the host in f64 and by the kernels: against 50 digits, the same bits on every device, and at the ends.

use realign::Device;
use realign::geometry::angles::MAX_RANK;
use realign::geometry::{Frame, PrincipalAngles, principal_angles, principal_angles_by_kernel, principal_angles_on};
use realign::kernels::geometry::angles;
use safetensors::SafeTensors;

use crate::common::{Rng, devices, gpu};

pub fn engines() -> Vec<Device> {
    [devices(), vec![gpu().with_capabilities(|c| (c.texel_reads, c.int64) = (false, false)).unwrap()]].concat()
}

pub struct Golden {
    pub a: Frame,
    pub b: Frame,
    pub angles: Vec<f64>,
    pub sin_theta_max: f64,
}

pub fn golden(d: usize) -> Golden {
    let path = format!("{}/tests/golden/angles_{d}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name| -> Vec<f64> {
        let data = file.tensor(name).unwrap();
        data.data().chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect()
    };
    let frame = |name| Frame::from_directions(values(name), d).unwrap();
    Golden { a: frame("a"), b: frame("b"), angles: values("angles"), sin_theta_max: values("sin_theta_max")[0] }
}

/// The largest relative error of an angle.
fn worst(got: &PrincipalAngles, want: &[f64]) -> f64 {
    assert_eq!(got.radians.len(), want.len());
    got.radians.iter().zip(want).map(|(g, w)| (g - w).abs() / w).fold(0.0, f64::max)
}

#[test]
fn angles_of_many_sizes_keep_their_digits() {
    for d in [64, 1280] {
        let Golden { a, b, angles, sin_theta_max } = golden(d);
        let mut all = vec![("host, f64".to_owned(), principal_angles(&a, &b).unwrap())];
        for device in engines() {
            all.push((device.name().to_owned(), principal_angles_by_kernel(&device, &a, &b).unwrap()));
        }
        for (name, got) in all {
            let error = worst(&got, &angles);
            println!("{name}, d = {d}: {error:.1e}");
            assert!(error <= 1e-6, "{name}, d = {d}: {error:e}");
            // Near a right angle, where no sine tells one from another, to as many places.
            let off = got.radians.iter().zip(&angles).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
            assert!(off <= 1e-13, "{name}, d = {d}: {off:e}");
            assert!((got.sin_theta_max - sin_theta_max).abs() <= 1e-14, "{name}, d = {d}");
        }
        // The smaller in the larger and the larger in the smaller: the same angles, but what leans out.
        let turned = principal_angles_by_kernel(&Device::host(), &b, &a).unwrap();
        assert!(worst(&turned, &angles) <= 1e-6 && turned.sin_theta_max == 1.0);
    }
}

/// Some other seventh digit of one component is told.
#[test]
fn a_moved_direction_is_noticed() {
    let Golden { a, b, angles, .. } = golden(64);
    let mut moved = b.directions().to_vec();
    moved[70] += 1e-9;
    let moved = Frame::from_directions(moved, 64).unwrap();
    assert!(worst(&principal_angles_by_kernel(&Device::host(), &a, &moved).unwrap(), &angles) > 1e-6);
}

pub fn random_rows(seed: u64, r: usize, d: usize) -> Vec<f64> {
    let mut rng = Rng(seed);
    let mut rows: Vec<Vec<f64>> = (0..r).map(|_| (0..d).map(|_| rng.normal()).collect()).collect();
    for i in 0..r {
        for _ in 0..2 {
            for j in 0..i {
                let c: f64 = rows[i].iter().zip(&rows[j]).map(|(x, y)| x * y).sum();
                let other = rows[j].clone();
                rows[i].iter_mut().zip(other).for_each(|(x, y)| *x -= c * y);
            }
        }
        let norm = rows[i].iter().map(|x| x * x).sum::<f64>().sqrt();
        rows[i].iter_mut().for_each(|x| *x /= norm);
    }
    rows.concat()
}

#[test]
fn the_same_bits_on_every_device() {
    for (r, s, d) in [(1, 1, 3), (3, 2, 7), (5, 5, 10), (12, 7, 130), (9, 9, 9)] {
        let (a, b) = (random_rows(1, r, d), random_rows(2, s, d));
        let words =
            |device: &Device| angles::submit(device, (&a, r), (&b, s)).unwrap().read_words_blocking(device).unwrap();
        let want = words(&Device::host());
        assert!(want.iter().any(|byte| *byte != 0));
        for device in engines() {
            assert!(words(&device) == want, "{} {r}, {s} of {d}", device.name());
        }
        let frame = |rows: &[f64]| Frame::from_directions(rows.to_vec(), d).unwrap();
        let exact = principal_angles(&frame(&a), &frame(&b)).unwrap();
        let got = principal_angles_by_kernel(&Device::host(), &frame(&a), &frame(&b)).unwrap();
        for (g, w) in got.radians.iter().zip(&exact.radians) {
            assert!((g - w).abs() <= 1e-13, "{g:e}, {w:e}");
        }
        assert_eq!(principal_angles_on(&Device::host(), &frame(&a), &frame(&b)).unwrap(), exact, "the host's own way");
    }
}

#[test]
fn equal_orthogonal_and_full_frames() {
    let d = 20;
    let rows = random_rows(4, d, d);
    let frame = |range: std::ops::Range<usize>| {
        Frame::from_directions(rows[range.start * d..range.end * d].to_vec(), d).unwrap()
    };
    for device in engines() {
        let of = |a: &Frame, b: &Frame| principal_angles_by_kernel(&device, a, b).unwrap();
        let same = of(&frame(0..6), &frame(0..6));
        assert_eq!((same.radians, same.sin_theta_max), (vec![0.0; 6], 0.0), "exactly");
        // The same span by other directions: rounding alone.
        let turned: Vec<f64> = (0..2)
            .flat_map(|k| (0..d).map(move |j| (k, j)))
            .map(|(k, j)| {
                let (x, y) = (rows[j], rows[d + j]);
                if k == 0 { 0.6 * x + 0.8 * y } else { 0.8 * x - 0.6 * y }
            })
            .collect();
        let turned = of(&frame(0..2), &Frame::from_directions(turned, d).unwrap());
        assert!(turned.radians.iter().all(|a| *a < 1e-15), "{turned:?}");
        let right = of(&frame(0..6), &frame(6..12));
        assert!(right.radians.iter().all(|a| (a - std::f64::consts::FRAC_PI_2).abs() < 1e-14), "{right:?}");
        assert!((right.sin_theta_max - 1.0).abs() < 1e-15);
        // All directions hold any: angles of 0. Any leans out of fewer.
        let full = of(&frame(0..d), &frame(3..9));
        assert!(full.radians.len() == 6 && full.sin_theta_max < 1e-14);
        assert_eq!(of(&frame(3..9), &frame(0..d)).sin_theta_max, 1.0);
        // Half inside, half at right angles: repeated values.
        let half = of(&frame(0..6), &frame(3..9));
        for (k, angle) in half.radians.iter().enumerate() {
            let want = if k < 3 { 0.0 } else { std::f64::consts::FRAC_PI_2 };
            assert!((angle - want).abs() < 1e-14, "{half:?}");
        }
    }
}

#[test]
fn what_is_refused() {
    let device = Device::host();
    let rows = random_rows(4, 3, 10);
    let says = |result: realign::Result<angles::Angles>, word: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    says(angles::submit(&device, (&rows, 3), (&rows[..5], 1)), "3 and 1 directions");
    says(angles::submit(&device, (&rows[..10], 1), (&rows, 3)), "1 and 3 directions");
    says(angles::submit(&device, (&[], 0), (&[], 0)), "0 and 0 directions");
    let many = vec![0.0; MAX_RANK + 1];
    says(angles::submit(&device, (&many, MAX_RANK + 1), (&[0.0], 1)), "directions");
    for bad in [f64::NAN, 2.0, f64::NEG_INFINITY] {
        let mut wrong = rows.clone();
        wrong[4] = bad;
        says(angles::submit(&device, (&wrong, 3), (&rows, 3)), "components from -1 to 1");
    }
    let skew: Vec<f64> = rows.iter().map(|x| x * 1.001).collect();
    let error = Frame::from_directions(skew, 10).unwrap_err().to_string();
    assert!(error.contains("off orthonormal by 2.0e-3"), "{error}");
}
