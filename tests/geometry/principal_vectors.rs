//! The directions that make the principal angles: in their spans, orthonormal, each in a pair with one alone, on the host and by the kernels.

use realign::Device;
use realign::geometry::{
    Frame, PrincipalVectors, principal_angles, principal_angles_by_kernel, principal_vectors,
    principal_vectors_by_kernel, principal_vectors_on,
};
use realign::kernels::geometry::angles;
use safetensors::SafeTensors;

use crate::angles::{engines, golden, random_rows};

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn frame(rows: &[f64], d: usize) -> Frame {
    Frame::from_directions(rows.to_vec(), d).unwrap()
}

/// By how much pairs are off: their lengths, right angles and cosines, and what of them is outside of the frames.
fn off(pairs: &PrincipalVectors, (a, b): (&Frame, &Frame), radians: &[f64]) -> f64 {
    let d = pairs.width;
    let (of_a, of_b): (Vec<&[f64]>, Vec<&[f64]>) = (pairs.a.chunks(d).collect(), pairs.b.chunks(d).collect());
    assert!(of_a.len() == radians.len() && of_b.len() == radians.len());
    let mut most = 0f64;
    for i in 0..radians.len() {
        for j in 0..radians.len() {
            let unit = f64::from(u8::from(i == j));
            for (got, want) in [
                (dot(of_a[i], of_a[j]), unit),
                (dot(of_b[i], of_b[j]), unit),
                (dot(of_a[i], of_b[j]), unit * radians[i].cos()),
            ] {
                most = most.max((got - want).abs());
            }
        }
        for (rows, frame) in [(of_a[i], a), (of_b[i], b)] {
            let inside: f64 = frame.directions().chunks(d).map(|u| dot(u, rows).powi(2)).sum();
            most = most.max((inside - 1.0).abs());
        }
    }
    most
}

/// The largest relative error of a sine below 0.1, from what of a direction of b is outside of its partner.
fn worst_sine(pairs: &PrincipalVectors, radians: &[f64]) -> f64 {
    let d = pairs.width;
    let mut worst = 0f64;
    for (i, angle) in radians.iter().enumerate().filter(|(_, angle)| **angle > 0.0 && **angle < 0.1) {
        let (a, b) = (&pairs.a[i * d..(i + 1) * d], &pairs.b[i * d..(i + 1) * d]);
        let cosine = dot(a, b);
        let sine = b.iter().zip(a).map(|(b, a)| (b - cosine * a).powi(2)).sum::<f64>().sqrt();
        worst = worst.max((sine / angle.sin() - 1.0).abs());
    }
    worst
}

#[test]
fn pairs_make_the_angles_and_nothing_else() {
    for d in [64, 1280] {
        let known = golden(d);
        let (a, b) = (&known.a, &known.b);
        let mut all = vec![("host, f64".to_owned(), principal_vectors(a, b).unwrap())];
        for device in engines() {
            all.push((device.name().to_owned(), principal_vectors_by_kernel(&device, a, b).unwrap()));
        }
        for (name, pairs) in &all {
            let error = off(pairs, (a, b), &known.angles);
            let sine = worst_sine(pairs, &known.angles);
            println!("{name}, d = {d}: {error:.1e}, sines {sine:.1e}");
            // Of products of d numbers in f64, of bases that are orthonormal to 1e-15 √d.
            assert!(error <= 1e-13 && sine <= 1e-6, "{name}, d = {d}: {error:e}, sines {sine:e}");
            for row in pairs.b.chunks(d) {
                let largest = row.iter().fold(0f64, |most, x| if x.abs() > most.abs() { *x } else { most });
                assert!(largest > 0.0, "{name}: {largest}");
            }
        }
        let [host, kernel] = [0, 1].map(|i| &all[i].1);
        // Distinct angles: the same directions. Those of 1e-8 are known to some 1e-16 / 1e-8 from each other.
        let apart = host.b.iter().zip(&kernel.b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        assert!(apart <= 1e-6, "{apart:e}");
        let turned = principal_vectors(b, a).unwrap();
        assert!(off(&turned, (b, a), &known.angles) <= 1e-13);
    }
}

#[test]
fn wrong_pairs_are_noticed() {
    let known = golden(64);
    let pairs = principal_vectors(&known.a, &known.b).unwrap();
    let mut swapped = pairs.clone();
    let (first, others) = swapped.a.split_at_mut(64);
    first.swap_with_slice(&mut others[64 * 7..64 * 8]);
    assert!(off(&swapped, (&known.a, &known.b), &known.angles) > 1e-3);
    let mut moved = pairs;
    moved.b[3] += 1e-9;
    assert!(worst_sine(&moved, &known.angles) > 1e-4);
}

#[test]
fn the_same_rotations_on_every_device() {
    for (r, s, d) in [(1, 1, 3), (3, 2, 7), (5, 5, 10), (12, 7, 130), (9, 9, 9)] {
        let (a, b) = (random_rows(1, r, d), random_rows(2, s, d));
        let pairs = |device: &Device| {
            angles::submit_with_vectors(device, (&a, r), (&b, s)).unwrap().read_pairs_blocking(device).unwrap()
        };
        let want = pairs(&Device::host());
        for device in engines() {
            assert_eq!(pairs(&device), want, "{} {r}, {s} of {d}", device.name());
        }
        let (a, b) = (frame(&a, d), frame(&b, d));
        let angles = principal_angles(&a, &b).unwrap();
        for (name, found) in [
            ("host, f64", principal_vectors(&a, &b).unwrap()),
            ("kernels", principal_vectors_by_kernel(&Device::host(), &a, &b).unwrap()),
        ] {
            let error = off(&found, (&a, &b), &angles.radians);
            assert!(error <= 1e-13, "{name}, {r}, {s} of {d}: {error:e}");
        }
        let found = principal_vectors_on(&Device::host(), &a, &b).unwrap();
        assert_eq!(found, principal_vectors(&a, &b).unwrap(), "the host's own way");
    }
}

#[test]
fn equal_orthogonal_and_full_frames_have_pairs() {
    let d = 20;
    let rows = random_rows(4, d, d);
    let part = |range: std::ops::Range<usize>| frame(&rows[range.start * d..range.end * d], d);
    let cases = [
        (part(0..6), part(0..6)),
        (part(0..6), part(6..12)),
        (part(0..d), part(3..9)),
        (part(3..9), part(0..d)),
        (part(0..6), part(3..9)),
        (part(0..6), part(5..7)),
    ];
    for (a, b) in &cases {
        let angles = principal_angles(a, b).unwrap();
        let error = off(&principal_vectors(a, b).unwrap(), (a, b), &angles.radians);
        assert!(error <= 1e-13, "{error:e}");
        for device in engines() {
            let angles = principal_angles_by_kernel(&device, a, b).unwrap();
            let found = principal_vectors_by_kernel(&device, a, b).unwrap();
            let error = off(&found, (a, b), &angles.radians);
            assert!(error <= 1e-13, "{}: {error:e}", device.name());
        }
    }
}

#[test]
fn they_are_saved_with_their_angles() {
    let known = golden(64);
    let pairs = principal_vectors(&known.a, &known.b).unwrap();
    let angles = principal_angles(&known.a, &known.b).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.safetensors");
    pairs.save(&path, &angles, false).unwrap();
    let error = pairs.save(&path, &angles, false).unwrap_err().to_string();
    assert!(error.contains("exists"), "{error}");
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for (name, want) in [("a", &pairs.a), ("b", &pairs.b), ("angles_rad", &angles.radians)] {
        assert_eq!(file.tensor(name).unwrap().data(), bytemuck::cast_slice::<f64, u8>(want), "{name}");
    }
    let other = principal_angles(&known.a, &known.a).unwrap();
    let fewer = realign::geometry::PrincipalAngles { radians: other.radians[..1].to_vec(), ..other };
    assert!(pairs.save(&path, &fewer, true).is_err());
}

#[test]
fn what_has_no_pairs() {
    let rows = random_rows(4, 3, 10);
    let device = Device::host();
    let alone = angles::submit(&device, (&rows, 3), (&rows, 3)).unwrap();
    let error = alone.read_pairs_blocking(&device).unwrap_err().to_string();
    assert!(error.contains("vectors"), "{error}");
    let narrow = random_rows(5, 2, 7);
    let error = principal_vectors(&frame(&rows, 10), &frame(&narrow, 7)).unwrap_err().to_string();
    assert!(error.contains("10") && error.contains('7'), "{error}");
}
