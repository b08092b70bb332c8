//! Shards of odd sizes give the rows of the single file, in every format; chunks larger than a window are cut.

use realign::align::{Centroid, FitOptions, Method, Statistics, apply, compare, fit, fit_moments, sample_size_study};
use realign::device::Device;
use realign::geometry::Cut;
use realign::io::{FileFormat, OutputOptions};
use realign::kernels::stats::moments::{Summand, WINDOW_ROWS};
use realign::stats::{CovarianceMode, DatasetRows, MemoryRows, RowSource, StreamOptions, Summary, covariance, measure};
use realign::{ElementType, Error};
use tempfile::tempdir;

use super::apply::{cloud, collect, decode, encode, fitted};
use super::*;

const WIDTH: usize = 5;
/// No multiple of any block, one shard of a single row, one of more than a block.
const SHARDS: [usize; 5] = [700, 1, 1237, 3, 601];

/// A folder of shards, and the same rows in one file.
fn sharded(folder: &Path, format: FileFormat) -> (Dataset, Dataset) {
    let total = SHARDS.iter().sum();
    let bytes = encode(&cloud(total, WIDTH, 8, 0.5), ElementType::F32);
    let save = |name: String, rows: &[u8]| {
        let count = rows.len() / (4 * WIDTH);
        let plain = open(&[&put(folder, "plain.npy", &counting("<f4", count, WIDTH))]).unwrap();
        let path = folder.join(name);
        write(&plain, &path, &OutputOptions::default(), rows).unwrap();
        path
    };
    std::fs::create_dir(folder.join("in")).unwrap();
    let mut left = &bytes[..];
    for (i, rows) in SHARDS.iter().enumerate() {
        let (now, later) = left.split_at(rows * 4 * WIDTH);
        save(format!("in/part-{i}.{format}"), now);
        left = later;
    }
    let single = save(format!("single.{format}"), &bytes);
    (open(&[&folder.join("in")]).unwrap(), open(&[&single]).unwrap())
}

#[test]
fn every_method_writes_shards_as_the_single_file() {
    let device = Device::host();
    for format in FileFormat::WRITTEN.into_iter().filter(|f| cfg!(feature = "parquet") || *f != FileFormat::Parquet) {
        let folder = tempdir().unwrap();
        let (shards, single) = sharded(folder.path(), format);
        for method in Method::ALL {
            let statistics = fitted(method, WIDTH);
            let want = collect(&device, &statistics, &mut DatasetRows::new(&single), ElementType::F32);
            let out = folder.path().join(method.name());
            apply_shards(&device, &statistics, &shards, &out);
            let written = open(&[&out]).unwrap();
            let sizes: Vec<u64> = written.shards().iter().map(|shard| shard.rows()).collect();
            assert_eq!(sizes, SHARDS.map(|rows| rows as u64), "{method} {format}");
            let got = rows(&written).unwrap();
            // The blocks of products differ, and with them the last bits.
            let off = |(a, b): (f64, f64)| (a - b).abs();
            let pairs = decode(&want, ElementType::F32).into_iter().zip(decode(&got, ElementType::F32));
            assert!(got.len() == want.len() && pairs.map(off).all(|e| e < 1e-7), "{method} {format}");
        }
    }
}

/// Writes each block to its shard, as one who relies on no block holding rows of two.
fn apply_shards(device: &Device, statistics: &Statistics, shards: &Dataset, out: &Path) {
    let mut output = Output::create(shards, out, &OutputOptions::default()).unwrap();
    let element = output.element_type();
    let mut open = None;
    let (mut next, mut left) = (0, 0);
    let mut sink = |bytes: &[u8], rows: usize| {
        assert!(rows > 0);
        if left == 0 {
            open.take().map_or(Ok(()), realign::io::ShardWriter::finish)?;
            open = Some(output.writer(next)?);
            left = shards.shards()[next].rows();
            next += 1;
        }
        left -= rows as u64;
        open.as_mut().unwrap().write(bytes)
    };
    let mut source = DatasetRows::new(shards);
    apply(device, &*statistics.aligner(), &mut source, element, StreamOptions::default(), &mut sink).unwrap();
    open.take().unwrap().finish().unwrap();
    output.commit().unwrap();
}

/// More rows than a window holds, in one chunk: 16-bit rows of width 1.
#[test]
fn a_chunk_may_be_larger_than_a_window() {
    let n = WINDOW_ROWS as usize + 5;
    let numbers: Vec<f64> = (0..n).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect();
    let bytes = encode(&numbers, ElementType::F16);
    let source = || MemoryRows::new("rows", &bytes, 1, ElementType::F16).unwrap();
    let device = Device::host();
    let stream = StreamOptions::default().chunk_rows(Some(n));
    let summand = Summand::unit_rows(&device, 1).unwrap();
    let moments = measure(&device, &mut source(), &summand, stream).unwrap();
    let mean = numbers.iter().sum::<f64>() / n as f64;
    assert_eq!(moments.rows(), n as u64);
    assert!((moments.mean()[0] - mean).abs() < 1e-9, "{} for {mean}", moments.mean()[0]);
    let small = StreamOptions::default().chunk_rows(Some(1 << 20));
    assert_eq!(measure(&device, &mut source(), &summand, small).unwrap(), moments);
    let matrix = |options| covariance(&device, &mut source(), options).unwrap();
    assert_eq!(matrix(stream), matrix(StreamOptions::default()));
    let other = encode(&[1.0, 1.0, -1.0], ElementType::F16);
    for centroid in [Centroid::Steps(1), Centroid::Exact] {
        let mut target = MemoryRows::new("target", &other, 1, ElementType::F16).unwrap();
        let options = FitOptions::default().centroid(centroid).stream(stream);
        let statistics = fit(&device, &mut source(), &mut target, &options).unwrap();
        assert_eq!(statistics.rows, (n as u64, 3));
        let mut rows = 0;
        let mut sink = |_: &[u8], more: usize| {
            rows += more;
            Ok(())
        };
        apply(&device, &*statistics.aligner(), &mut source(), ElementType::F16, stream, &mut sink).unwrap();
        assert_eq!(rows, n);
    }
}

/// A source that must not be read.
struct Untouched(usize);

impl RowSource for Untouched {
    fn rows(&self) -> u64 {
        1000
    }

    fn width(&self) -> usize {
        self.0
    }

    fn element_type(&self) -> ElementType {
        ElementType::F32
    }

    fn rewind(&mut self) -> Result<()> {
        panic!("rewound before the options were looked at")
    }

    fn next(&mut self, _most: usize, _out: &mut [u8]) -> Result<usize> {
        panic!("read before the options were looked at")
    }

    fn locate(&mut self, _row: u64, _out: &mut [u8]) -> Result<(PathBuf, u64)> {
        panic!("read before the options were looked at")
    }
}

#[test]
fn options_are_checked_before_anything_is_read() {
    let device = Device::host();
    let both = || (Untouched(4), Untouched(4));
    let none = StreamOptions::default().chunk_rows(Some(0));
    let bad = [
        (FitOptions::default().centroid(Centroid::Steps(0)), "0 steps"),
        (FitOptions::default().centroid(Centroid::Steps(20)), "20 steps"),
        (FitOptions::default().centroid(Centroid::Steps(9)).method(Method::Blockwise), "9 steps"),
        (FitOptions::default().centroid(Centroid::Exact).method(Method::Blockwise), "exact"),
        (FitOptions::default().strength(Some(1.5)).method(Method::OptimalTransport), "1.5"),
        (FitOptions::default().frame(Cut::Energy(1.5)).method(Method::Blockwise), "1.5"),
        (FitOptions::default().frame(Cut::Rank(0)).method(Method::Blockwise), "1 to 4"),
        (FitOptions::default().frame(Cut::Rank(5)).method(Method::Blockwise), "1 to 4"),
        (FitOptions::default().sigma(Some(-1.0)).method(Method::C3), "-1"),
        (FitOptions::default().shrinkage(Some(f64::NAN)).method(Method::Blockwise), "NaN"),
        (FitOptions::default().stream(none), "0 rows"),
    ];
    for (options, words) in bad {
        let (mut y, mut x) = both();
        refused(fit(&device, &mut y, &mut x, &options), &[words]);
        refused(sample_size_study(&device, &mut y, &mut x, (&[100], 1, 0), &options), &[words]);
        if options.method != Method::Blockwise || options.centroid != Centroid::Exact {
            // Here an exact step means one step of blockwise.
            let options = realign::align::CompareOptions { fit: options, ..Default::default() };
            refused(compare(&device, &mut y, &mut x, &Method::ALL, &options), &[words]);
        }
    }
    let frame = realign::align::CompareOptions { frame: Cut::Rank(5), ..Default::default() };
    refused(compare(&device, &mut Untouched(4), &mut Untouched(4), &Method::ALL, &frame), &["1 to 4"]);
    refused(
        sample_size_study(&device, &mut Untouched(4), &mut Untouched(5), (&[100], 1, 0), &FitOptions::default()),
        &["width 4", "width 5"],
    );
    refused(covariance(&device, &mut Untouched(4), none), &["0 rows"]);
    refused(Summary::of(&device, &mut Untouched(4), Some(CovarianceMode::Exact), none), &["0 rows"]);
}

#[test]
fn steps_are_checked_with_moments_too() {
    let device = Device::host();
    let bytes = encode(&cloud(50, 4, 3, 0.5), ElementType::F32);
    let mut source = MemoryRows::new("rows", &bytes, 4, ElementType::F32).unwrap();
    let moments = Summary::of(&device, &mut source, None, StreamOptions::default()).unwrap().moments;
    for steps in [0, 9, u32::MAX] {
        let options = FitOptions::default().centroid(Centroid::Steps(steps));
        let error = fit_moments(&device, (&moments, &moments), Some(&mut Untouched(4)), &options).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
    let most = FitOptions::default().centroid(Centroid::Steps(8));
    let statistics = fit_moments(&device, (&moments, &moments), Some(&mut source), &most).unwrap();
    let folder = tempdir().unwrap();
    let path = folder.path().join("s.safetensors");
    statistics.save(&path, false).unwrap();
    assert_eq!(Statistics::load(&path).unwrap(), statistics);
}
