//! Rows of zeros.

use realign::io::OpenOptions;
use realign::stats::{DatasetRows, RowSource};
use tempfile::tempdir;

use super::*;

const WIDTH: usize = 3;

#[test]
fn rows_of_zeros_are_counted_while_they_are_read() {
    let folder = tempdir().unwrap();
    let mut values: Vec<f32> = (1..=20 * WIDTH).map(|i| i as f32).collect();
    for row in [3, 17, 18, 19] {
        values[row * WIDTH..(row + 1) * WIDTH].fill(0.0);
    }
    for descr in ["<f2", "<f4", "<f8"] {
        let files: Vec<PathBuf> = [(0, 5), (5, 20)]
            .into_iter()
            .map(|(from, to)| {
                let part = &values[from * WIDTH..to * WIDTH];
                let body: Vec<u8> = match descr {
                    "<f2" => part.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
                    "<f4" => part.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    _ => part.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect(),
                };
                let text =
                    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}, {WIDTH}), }}", to - from);
                put(folder.path(), &format!("{from}.npy"), &npy(&text, &body))
            })
            .collect();
        let input = Dataset::open(&files, &OpenOptions::default()).unwrap();
        let mut source = DatasetRows::new(&input);
        let mut block = vec![0; 7 * WIDTH * 8];
        for _ in 0..2 {
            while source.next(7, &mut block).unwrap() > 0 {}
            let zero = source.zero_rows();
            assert_eq!((zero.count, zero.first, zero.at_end), (4, Some(3), 3), "{descr}");
            source.rewind().unwrap();
        }
        let device = realign::Device::host();
        let summary =
            realign::stats::Summary::of(&device, &mut DatasetRows::new(&input), None, Default::default()).unwrap();
        assert_eq!(summary.moments.zero_rows(), 4);
    }
}
