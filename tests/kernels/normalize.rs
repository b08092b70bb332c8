//! Row normalisation against f64.

use realign::device::{Buffer, Device, Recorder, Tensor};
use realign::kernels::align::apply::status_buffer;
use realign::kernels::stats::normalize;
use realign::{ElementType, Error};

use crate::common::{cloud, devices, gpu};
use crate::rows::{
    INPUTS, Input, OUTPUTS, SHAPES, U, check, extreme_rows, run, stored, unit, unit_error, variants, width_classes,
};

fn record(recorder: &mut Recorder, input: &Tensor, output: &Tensor, status: &Buffer) {
    normalize::record(recorder, input, output, input.rows(), status).unwrap();
}

/// Runs and compares; the bound is relative for each element, for the row's factor is what errs.
fn verify(device: &Device, input: &Input, out: ElementType, what: &str) {
    let (got, bad) = run(device, input, out, record);
    let want = unit(&input.exact, input.width);
    let bounds: Vec<f64> = want.iter().map(|w| stored(*w, unit_error(input.width, U) * w.abs(), out)).collect();
    check(&got, &want, &bounds, what);
    assert_eq!(bad, None, "{what}");
}

#[test]
fn shapes_and_variants() {
    for (name, device) in variants() {
        for (n, d) in SHAPES {
            let input = Input::new(&cloud(n as u64 + 1, n, d), d, ElementType::F32);
            verify(&device, &input, ElementType::F32, &format!("{name} [{n}, {d}]"));
        }
    }
}

/// Rows that a team holds just so, or just not.
#[test]
fn widths_of_every_team() {
    for (name, device, widths) in width_classes() {
        for d in widths {
            for n in [1, 5] {
                let input = Input::new(&cloud(d as u64, n, d), d, ElementType::F32);
                verify(&device, &input, ElementType::F32, &format!("{name} [{n}, {d}]"));
            }
        }
    }
}

#[test]
fn element_types() {
    for device in devices() {
        // 67 × 9 groups of four 16-bit elements end in half a texel.
        for (n, d) in [(67, 37), (67, 33), (130, 64)] {
            let data = cloud(3, n, d);
            for element in INPUTS {
                let input = Input::new(&data, d, element);
                for out in OUTPUTS {
                    verify(&device, &input, out, &format!("{} [{n}, {d}] {element} to {out}", device.name()));
                }
            }
        }
    }
}

#[test]
fn more_rows_than_a_dispatch_holds() {
    // One row to a workgroup, so that 65,535 workgroups must stride.
    let single = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (4, 4, false)).unwrap();
    let (n, d) = (65_535 + 70, 3);
    let input = Input::new(&cloud(9, n, d), d, ElementType::F32);
    verify(&Device::host(), &input, ElementType::F32, "host");
    verify(&single, &input, ElementType::F32, "strides");
}

#[test]
fn zero_tiny_and_huge_rows() {
    let (data, d) = extreme_rows();
    for (name, device) in variants() {
        for element in [ElementType::F32, ElementType::Fixed, ElementType::BF16] {
            let input = Input::new(&data, d, element);
            assert_eq!(unit(&input.exact, d)[2 * d..3 * d], [0.0; 8], "row 2 counts as zero");
            verify(&device, &input, ElementType::F32, &format!("{name} {element}"));
        }
    }
}

#[test]
fn the_least_bad_row_is_reported() {
    let (n, d) = (300, 7);
    for (name, device) in variants() {
        for (row, value) in [(0, f32::NAN), (131, f32::INFINITY), (299, f32::NEG_INFINITY)] {
            for element in [ElementType::F32, ElementType::F16, ElementType::BF16] {
                let mut data = cloud(1, n, d);
                data[row * d + 6] = value;
                data[299 * d] = f32::NAN;
                let (got, bad) = run(&device, &Input::new(&data, d, element), ElementType::F32, record);
                assert_eq!(bad, Some(row as u64), "{name} {element}");
                // Its neighbours are as they would be.
                let fine = Input::new(&cloud(1, n, d), d, element);
                let (want, _) = run(&device, &fine, ElementType::F32, record);
                for i in (0..n).filter(|i| ![row, 299].contains(i)) {
                    assert_eq!(got[i * d..(i + 1) * d], want[i * d..(i + 1) * d], "{name} row {i}");
                }
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let tensor = |n, d, e| Tensor::new(&device, n, d, e).unwrap();
        let (input, status) = (tensor(5, 6, ElementType::F32), status_buffer(&device).unwrap());
        let mut recorder = device.recorder();
        let mut refused = |input: &Tensor, output: &Tensor, rows, status: &Buffer| {
            let error = normalize::record(&mut recorder, input, output, rows, status).unwrap_err();
            assert!(matches!(error, Error::Shape { .. } | Error::Argument { .. }), "{error}");
        };
        let output = tensor(5, 6, ElementType::F32);
        refused(&input, &tensor(5, 7, ElementType::F32), 5, &status);
        refused(&input, &tensor(4, 6, ElementType::F32), 5, &status);
        refused(&input, &output, 6, &status);
        refused(&input, &tensor(5, 6, ElementType::Fixed), 5, &status);
        let other = Device::host();
        let stranger = Tensor::new(&other, 5, 6, ElementType::F32).unwrap();
        refused(&stranger, &output, 5, &status);
        refused(&input, &stranger, 5, &status);
        refused(&input, &output, 5, &status_buffer(&other).unwrap());
        assert!(recorder.commands().is_empty());
    }
}
