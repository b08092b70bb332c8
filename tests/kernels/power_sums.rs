//! Weighted power sums of columns.

use realign::Error;
use realign::device::{Buffer, Device};
use realign::host::stats::power_sums as host;
use realign::kernels::stats::power_sums;

use crate::common::devices;
use crate::nn::{SHAPES, normal, padded, read, rubbish, run, tensor, wide, zeros};
use crate::rows::{U, check, variants};

/// Weights of 0 to 1, in whole vectors.
fn weights(device: &Device, n: usize) -> (Vec<f64>, Buffer) {
    let mut w: Vec<f32> = normal(21, n).iter().map(|x| x.abs().min(1.0)).collect();
    w.resize(n.next_multiple_of(4).max(4), 0.0);
    let buffer = device.buffer_from("weights", bytemuck::cast_slice(&w)).unwrap();
    (wide(&w[..n]), buffer)
}

/// Sums from the definition, `[r, 4]`, added to `before`, and those of the magnitudes.
fn reference(z: &[f32], weights: &[f64], r: usize, before: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut sums, mut size) = (before.to_vec(), before.iter().map(|b| b.abs()).collect::<Vec<_>>());
    for (row, w) in z.chunks_exact(r).zip(weights) {
        for (j, &z) in row.iter().enumerate() {
            for p in 0..4 {
                let term = w * f64::from(z).powi(p as i32 + 1);
                sums[4 * j + p] += term;
                size[4 * j + p] += term.abs();
            }
        }
    }
    (sums, size)
}

/// Four roundings of a term, n additions, and that to what was there.
fn bounds(size: &[f64], n: usize) -> Vec<f64> {
    size.iter().map(|s| s * U * (n as f64 + 5.0) + 1e-37).collect()
}

#[test]
fn shapes_and_variants() {
    for (name, device) in variants() {
        for (n, r) in SHAPES.into_iter().chain([(3, 5003)]) {
            for accumulate in [false, true] {
                let (z, before) = (normal(n as u64 + 3, n * r), normal(12, 4 * r));
                let (w, buffer) = weights(&device, n);
                let (tz, sums) = (tensor(&device, &z, r), tensor(&device, &before, 4));
                run(&device, |rec| power_sums::record(rec, (&tz, &buffer), &sums, accumulate).unwrap());
                let start = if accumulate { wide(&before) } else { vec![0.0; 4 * r] };
                let (want, size) = reference(&z, &w, r, &start);
                let what = format!("{name} [{n}, {r}] {accumulate}");
                check(&read(&device, &sums), &want, &bounds(&size, n), &what);
            }
        }
    }
}

#[test]
fn the_twin_in_f64_is_the_definition() {
    let (n, r) = (301, 7);
    let z = normal(4, n * r);
    let (w, _) = weights(&Device::host(), n);
    let mut sums = vec![0.0; 4 * 7];
    host::power_sums((&padded(&wide(&z), r), &w), n, &mut sums, false);
    let (want, size) = reference(&z, &w, r, &[0.0; 28]);
    for ((got, want), size) in sums.iter().zip(&want).zip(&size) {
        assert!((got - want).abs() <= 1e-14 * size, "{got} for {want}");
    }
}

#[test]
fn more_rows_than_a_driver_loops_and_the_same_bits_again() {
    for (name, device) in variants() {
        let n = 140_001usize;
        let ones = device.buffer_from("ones", bytemuck::cast_slice(&vec![1f32; n.next_multiple_of(4)])).unwrap();
        let (z, sums) = (tensor(&device, &vec![-1.0; n], 1), rubbish(&device, 1, 4));
        run(&device, |r| power_sums::record(r, (&z, &ones), &sums, false).unwrap());
        let n = n as f32;
        assert_eq!(read(&device, &sums), [-n, n, -n, n], "{name}");
        let z = tensor(&device, &normal(13, 1009 * 36), 36);
        let again = [(); 2].map(|()| zeros(&device, 36, 4));
        again.iter().for_each(|s| run(&device, |r| power_sums::record(r, (&z, &ones), s, false).unwrap()));
        assert_eq!(read(&device, &again[0]), read(&device, &again[1]), "{name}");
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let (z, sums) = (zeros(&device, 5, 3), zeros(&device, 3, 4));
        let (_, good) = weights(&device, 5);
        let few = device.buffer_from("few", &[0; 16]).unwrap();
        let (_, stranger) = weights(&Device::host(), 5);
        let mut r = device.recorder();
        let half = realign::device::Tensor::new(&device, 5, 3, realign::ElementType::F16).unwrap();
        let square = zeros(&device, 4, 4);
        for (z, w, sums) in [
            (&z, &few, &sums),
            (&z, &stranger, &sums),
            (&half, &good, &sums),
            (&z, &good, &z),
            (&z, &good, &square),
            (&zeros(&device, 4, 4), square.buffer(), &square),
            (&zeros(&Device::host(), 5, 3), &good, &sums),
        ] {
            let error = power_sums::record(&mut r, (z, w), sums, false).unwrap_err();
            assert!(matches!(error, Error::Shape { .. }), "{error}");
        }
        assert!(r.commands().is_empty());
    }
}
