//! Exact products by slices in floats: against integers of 128 bits, and the bits of the digits' kernel.

use realign::ElementType;
use realign::device::Device;
use realign::kernels::linalg::exact_product::{self, Digits, LARGEST, Placement, Sums};
use realign::kernels::linalg::slices::{self, Parts, Slices};

use crate::common::{devices, gpu};
use crate::exact_product::{UPPER, integers, product, read};
use crate::tensor_cores::with_tensor_cores;

const FLOATS: [ElementType; 2] = [ElementType::F32, ElementType::F16];

/// Reading textures and buffers, dispatches whole and in parts.
fn variants() -> Vec<Device> {
    let changed = |change: &dyn Fn(&mut realign::device::Capabilities)| gpu().with_capabilities(|c| change(c)).unwrap();
    let more = [changed(&|c| c.texel_reads = false), changed(&|c| (c.dispatch_flops, c.dispatch_bytes) = (64, 64))];
    [devices(), more.to_vec(), with_tensor_cores("exact products by slices").into_iter().collect()].concat()
}

fn written(device: &Device, integers: &[f64], width: usize, element: ElementType) -> Slices {
    let rows = integers.len() / width;
    let mut slices = Slices::new(device, rows + 2, width, element).unwrap();
    slices.write(device, integers).unwrap();
    slices
}

#[test]
fn shapes() {
    for device in variants() {
        for (k, m, n) in [(1, 1, 1), (3, 2, 5), (5, 7, 33), (130, 18, 9), (257, 6, 10), (600, 3, 4)] {
            let (a, b) = (integers(1, k * m), integers(2, k * n));
            for element in FLOATS {
                let [left, right] = [(&a, m), (&b, n)].map(|(x, width)| written(&device, x, width, element));
                let (parts, sums) = (Parts::new(&device, m, n).unwrap(), Sums::new(&device, m, n).unwrap());
                let mut recorder = device.recorder();
                slices::record(&mut recorder, (&left, &right), Placement::default(), (&parts, &sums)).unwrap();
                recorder.submit().unwrap();
                let same = read(&device, &sums, (m, n)) == product(&a, m, &b, n);
                assert!(same, "{} [{k}, {m}] [{k}, {n}] {element}", device.name());
            }
        }
    }
}

/// The largest sums that there are: every slice at its end, in as many rows as are added up at a time.
#[test]
fn the_largest_sums_of_slices() {
    // -256 at every place but the highest, which 43 bits leave 128.
    let low = -256.0 * (1.0 + 512.0 + 512f64.powi(2) + 512f64.powi(3));
    for device in variants() {
        for one in [low, low - 127.0 * 512f64.powi(4), 255.0 * (1.0 + 512.0), LARGEST, -LARGEST] {
            let (k, d) = (512, 5);
            let all = vec![one; k * d];
            for element in FLOATS {
                let (left, parts) = (written(&device, &all, d, element), Parts::new(&device, d, d).unwrap());
                let sums = Sums::new(&device, d, d).unwrap();
                let mut recorder = device.recorder();
                slices::record(&mut recorder, (&left, &left), Placement::default(), (&parts, &sums)).unwrap();
                recorder.submit().unwrap();
                let want = k as i128 * one as i128 * one as i128;
                assert!(read(&device, &sums, (d, d)).iter().all(|&sum| sum == want), "{} {one}", device.name());
            }
        }
    }
}

/// Halves of a square, and words up, are those of the digits' kernel; what lies below the diagonal is left alone.
#[test]
fn placements_have_the_digits_bits() {
    for device in variants() {
        let (k, d) = (300, 70);
        let small: Vec<f64> = integers(3, k * d).into_iter().map(|x| (x / 2048.0).round()).collect();
        let words = |words_up| Placement { upper: words_up == 1, words_up };
        for placement in [UPPER, words(0), words(1), words(2)] {
            let mut digits = Digits::new(&device, k, d).unwrap();
            digits.write(&device, &small).unwrap();
            let want = Sums::new(&device, d, d).unwrap();
            let mut recorder = device.recorder();
            exact_product::record(&mut recorder, &digits, &digits, placement, &want).unwrap();
            recorder.submit().unwrap();
            for element in FLOATS {
                let (all, parts) = (written(&device, &small, d, element), Parts::new(&device, d, d).unwrap());
                let sums = Sums::new(&device, d, d).unwrap();
                let mut recorder = device.recorder();
                slices::record(&mut recorder, (&all, &all), placement, (&parts, &sums)).unwrap();
                recorder.submit().unwrap();
                let [got, want] = [&sums, &want].map(|sums| read(&device, sums, (d, d)));
                assert!(got == want, "{} {placement:?} {element}", device.name());
                assert!(!placement.upper || got[d] == 0, "below the diagonal");
            }
        }
    }
}

#[test]
fn bad_input() {
    let says = |result: realign::Result<()>, what: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    for device in devices() {
        assert!(
            Slices::new(&device, 1, 4, ElementType::BF16).is_err()
                && Slices::new(&device, 0, 4, ElementType::F32).is_err()
        );
        let mut slices = Slices::new(&device, 2, 3, ElementType::F16).unwrap();
        says(slices.write(&device, &[0.0; 9]), "at most 2 rows of 3");
        says(slices.write(&device, &[0.0, 0.0, 0.0, 0.0, 0.5, 0.0]), "row 1, column 1");
        says(slices.write(&device, &[2.0 * LARGEST, 0.0, 0.0]), "43 bits");
        slices.write(&device, &[1.0, 2.0, 3.0]).unwrap();
        let other = written(&device, &[1.0, 2.0, 3.0], 3, ElementType::F16);
        let (parts, sums) = (Parts::new(&device, 3, 3).unwrap(), Sums::new(&device, 3, 3).unwrap());
        let mut recorder = device.recorder();
        let mut record =
            |b, placement, parts, sums| slices::record(&mut recorder, (&slices, b), placement, (parts, sums));
        says(record(&other, UPPER, &parts, &sums), "one matrix");
        says(record(&other, Placement { upper: false, words_up: 3 }, &parts, &sums), "words_up");
        let wide = Parts::new(&device, 3, 4).unwrap();
        says(record(&other, Placement::default(), &wide, &sums), "parts [m, n]");
        let stranger = Sums::new(&if device.wgpu().is_some() { Device::host() } else { gpu() }, 3, 3).unwrap();
        says(record(&other, Placement::default(), &parts, &stranger), "device");
    }
}
