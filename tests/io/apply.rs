//! Rows through the operators, in every width, type and format, against plain f64 arithmetic.

use half::{bf16, f16};
use realign::ElementType;
use realign::align::{FitOptions, Method, Radial, Statistics, apply, fit};
use realign::device::Device;
use realign::host::gaussian::gaussian4;
use realign::io::{FileFormat, OutputOptions};
use realign::stats::{DatasetRows, MemoryRows, RowSource, StreamOptions};
use tempfile::tempdir;

use super::common::{Rng, devices};
use super::*;

pub const TYPES: [ElementType; 4] = [ElementType::F16, ElementType::BF16, ElementType::F32, ElementType::F64];
/// Not a multiple of anything.
const ROWS: usize = 37;

pub fn encode(values: &[f64], element: ElementType) -> Vec<u8> {
    let one = |x: f64| match element {
        ElementType::F16 => f16::from_f64(x).to_le_bytes().to_vec(),
        ElementType::BF16 => bf16::from_f64(x).to_le_bytes().to_vec(),
        ElementType::F32 => (x as f32).to_le_bytes().to_vec(),
        _ => x.to_le_bytes().to_vec(),
    };
    values.iter().flat_map(|x| one(*x)).collect()
}

pub fn decode(bytes: &[u8], element: ElementType) -> Vec<f64> {
    match element {
        ElementType::F16 => bytes.chunks_exact(2).map(|e| f16::from_le_bytes([e[0], e[1]]).to_f64()).collect(),
        ElementType::BF16 => bytes.chunks_exact(2).map(|e| bf16::from_le_bytes([e[0], e[1]]).to_f64()).collect(),
        ElementType::F32 => {
            bytes.chunks_exact(4).map(|e| f64::from(f32::from_le_bytes(e.try_into().unwrap()))).collect()
        }
        _ => bytes.chunks_exact(8).map(|e| f64::from_le_bytes(e.try_into().unwrap())).collect(),
    }
}

/// Rows whose share of positive leading elements is that of `positive`, so that no operator brings one near zero.
pub fn cloud(n: usize, width: usize, seed: u64, positive: f64) -> Vec<f64> {
    let mut rng = Rng(seed);
    let leading = |i: usize| if ((i * 7 % n) as f64) < positive * n as f64 { 1.0 } else { -1.0 };
    (0..n * width)
        .map(|at| {
            let small = 0.4 * (rng.uniform() - 0.5);
            if at % width == 0 { leading(at / width) + small } else { small }
        })
        .collect()
}

pub fn fitted(method: Method, width: usize) -> Statistics {
    let (text, image) = (cloud(ROWS, width, 1, 0.8), cloud(ROWS, width, 2, 0.7));
    let (text, image) = (encode(&text, ElementType::F64), encode(&image, ElementType::F64));
    let mut text = MemoryRows::new("text", &text, width, ElementType::F64).unwrap();
    let mut image = MemoryRows::new("image", &image, width, ElementType::F64).unwrap();
    let sigma = (method == Method::C3).then_some(0.1);
    let options = FitOptions::default().method(method).sigma(sigma).seed(5);
    fit(&Device::host(), &mut text, &mut image, &options).unwrap()
}

fn project(row: &mut [f64]) {
    let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    row.iter_mut().for_each(|x| *x /= norm);
}

/// Gives a row, in place of the target's mean, what the unit row becomes in AnisoAlign's planes.
fn put_into_planes(radial: &Radial, (unit, mean): (&[f64], &[f64]), row: &mut [f64]) {
    let (d, k) = (unit.len(), radial.knots());
    for plane in 0..radial.planes() {
        let directions = [0, 1].map(|i| &radial.directions[(2 * plane + i) * d..][..d]);
        let along = |q: &[f64], v: &[f64]| q.iter().zip(v).map(|(q, v)| q * v).sum::<f64>();
        let [a, b] = [0, 1].map(|i| along(directions[i], unit) + radial.offset[2 * plane + i]);
        let [from, wanted] = [&radial.source, &radial.target].map(|table| &table[plane * k..][..k]);
        let length = (a * a + b * b + 1e-12).sqrt();
        let below = (0..k).rfind(|&i| from[i] <= length);
        let mapped = match below {
            None => wanted[0],
            Some(i) if i + 1 == k => wanted[i],
            Some(i) => wanted[i] + (length - from[i]) / (from[i + 1] - from[i]) * (wanted[i + 1] - wanted[i]),
        };
        let angle = b.atan2(a);
        for (q, c) in directions.into_iter().zip([mapped * angle.cos(), mapped * angle.sin()]) {
            let more = c - along(q, mean);
            row.iter_mut().zip(q).for_each(|(r, q)| *r += more * q);
        }
    }
}

/// What the operator makes of rows, by its definition.
fn reference(statistics: &Statistics, rows: &[f64]) -> Vec<f64> {
    let d = statistics.width();
    let (from, to) = (&statistics.mean_source, &statistics.mean_target);
    let mut out = rows.to_vec();
    for (index, row) in out.chunks_exact_mut(d).enumerate() {
        if statistics.method == Method::None {
            continue;
        }
        project(row);
        let unit = row.to_vec();
        let centred: Vec<f64> = row.iter().zip(from).map(|(u, m)| u - m).collect();
        for j in 0..d {
            let noise = statistics.noise.map_or(0.0, |noise| {
                let key = [noise.seed as u32, (noise.seed >> 32) as u32];
                noise.sigma * f64::from(gaussian4(index as u64, j as u32 / 4, key)[j % 4])
            });
            let moved = match &statistics.map {
                Some(map) => map[j * d..(j + 1) * d].iter().zip(&centred).map(|(a, c)| a * c).sum(),
                None => statistics.scale * centred[j],
            };
            let to = if statistics.method == Method::Centre { 0.0 } else { to[j] };
            row[j] = to + moved + noise;
        }
        if let Some(radial) = &statistics.radial {
            put_into_planes(radial, (&unit, to), row);
        }
        project(row);
        for shift in &statistics.shifts {
            row.iter_mut().zip(shift).for_each(|(r, h)| *r += h);
            project(row);
        }
    }
    out
}

/// Everything that [`apply`] hands out.
pub fn collect(device: &Device, statistics: &Statistics, source: &mut dyn RowSource, output: ElementType) -> Vec<u8> {
    let mut all = Vec::new();
    let row = statistics.width() * output.bytes();
    let mut sink = |bytes: &[u8], rows: usize| {
        assert_eq!(bytes.len(), rows * row);
        all.extend_from_slice(bytes);
        Ok(())
    };
    // Several chunks, the last one short.
    let options = StreamOptions::default().chunk_rows(Some(16));
    apply(device, &*statistics.aligner(), source, output, options, &mut sink).unwrap();
    all
}

/// Most that an element of a row of norm 1 may be off.
fn bound(method: Method, output: ElementType) -> f64 {
    let rounding = match output {
        ElementType::F16 => 2f64.powi(-12),
        ElementType::BF16 => 2f64.powi(-9),
        ElementType::F32 => 2f64.powi(-25),
        _ => 0.0,
    };
    let computing = match method {
        Method::None => 0.0,
        Method::Blockwise | Method::OptimalTransport | Method::AnisoAlign => 1e-12,
        // f32 arithmetic, whatever the files' types.
        _ => 2e-6,
    };
    rounding + computing
}

fn check(statistics: &Statistics, rows: &[f64], output: ElementType, got: &[u8], what: &str) {
    let (want, got) = (reference(statistics, rows), decode(got, output));
    assert_eq!(want.len(), got.len(), "{what}");
    for (i, (want, got)) in want.iter().zip(&got).enumerate() {
        // Rows of norm 1 lie within 1; from there on half a unit in the last place is twice the bound.
        let scale = if statistics.method == Method::None { 2.0 * want.abs().max(0.5) } else { 1.0 };
        let off = (want - got).abs();
        assert!(off <= scale * bound(statistics.method, output), "{what}: element {i} is {got}, not {want}");
    }
}

#[test]
fn every_width_type_and_method() {
    for width in 1..=9 {
        for method in Method::ALL {
            let statistics = fitted(method, width);
            for input in TYPES {
                let bytes = encode(&cloud(ROWS, width, 3, 0.5), input);
                let rows = decode(&bytes, input);
                for (output, device) in TYPES.iter().flat_map(|o| devices().into_iter().map(move |d| (*o, d))) {
                    let mut source = MemoryRows::new("rows", &bytes, width, input).unwrap();
                    let got = collect(&device, &statistics, &mut source, output);
                    let what = format!("{method}, width {width}, {input} to {output} on {}", device.name());
                    check(&statistics, &rows, output, &got, &what);
                }
            }
        }
    }
}

fn holds(format: FileFormat, element: ElementType) -> bool {
    format == FileFormat::Safetensors || element != ElementType::BF16
}

#[test]
fn every_format_from_file_to_file() {
    let device = Device::host();
    for width in 1..=9 {
        let folder = tempdir().unwrap();
        let rows = cloud(ROWS, width, 3, 0.5);
        let plain = open(&[&put(folder.path(), "plain.npy", &counting("<f4", ROWS, width))]).unwrap();
        let formats =
            || FileFormat::WRITTEN.into_iter().filter(|f| cfg!(feature = "parquet") || *f != FileFormat::Parquet);
        let kinds = || formats().flat_map(|f| TYPES.into_iter().map(move |t| (f, t))).filter(|(f, t)| holds(*f, *t));
        let inputs: Vec<_> = kinds()
            .map(|(format, element)| {
                let path = folder.path().join(format!("in-{element}.{format}"));
                let options = OutputOptions { element_type: Some(element), ..Default::default() };
                write(&plain, &path, &options, &encode(&rows, element)).unwrap();
                open(&[&path]).unwrap()
            })
            .collect();
        for method in Method::ALL {
            let statistics = fitted(method, width);
            for input in &inputs {
                let from = (input.shards()[0].format(), input.element_type());
                // From one format to another is tested where the formats are.
                for (format, element) in kinds().filter(|(format, _)| *format == from.0) {
                    let what = format!("{method}, width {width}, {from:?} to {format} {element}");
                    let bytes = collect(&device, &statistics, &mut DatasetRows::new(input), element);
                    let out = folder.path().join(format!("out.{format}"));
                    let options = OutputOptions { element_type: Some(element), force: true, ..Default::default() };
                    write(input, &out, &options, &bytes).unwrap();
                    let back = open(&[&out]).unwrap();
                    assert_eq!((back.rows(), back.width(), back.element_type()), (ROWS as u64, width, element));
                    let stored = decode(&encode(&rows, from.1), from.1);
                    check(&statistics, &stored, element, &self::rows(&back).unwrap(), &what);
                }
            }
        }
    }
}

/// The number of a 16-bit type nearest to `x`, to even where two are: the best of the neighbours of a guess.
fn nearest(x: f64, guess: u16, value: impl Fn(u16) -> f64) -> u16 {
    let near = [guess, guess.wrapping_sub(1), guess.wrapping_add(1)];
    let off = |bits: u16| (value(bits) - x).abs();
    near.into_iter().min_by(|a, b| off(*a).total_cmp(&off(*b)).then((a & 1).cmp(&(b & 1)))).unwrap()
}

#[test]
fn numbers_are_rounded_once_and_to_even() {
    let mut rng = Rng(9);
    // Halfway between two numbers of f16 (11 digits) or bf16 (8 digits), and off it by less than f32 or a half word sees.
    let mut values = Vec::new();
    for digits in [8, 11] {
        for _ in 0..200 {
            let exponent = (rng.uniform() * 20.0).floor() as i32 - 10;
            let whole = (rng.next() % (1 << (digits - 1))) as f64 + f64::from(1u32 << (digits - 1));
            for nudge in [0.0, 2f64.powi(-25), -2f64.powi(-25), 2f64.powi(-40), -2f64.powi(-40)] {
                let x = (whole + 0.5 + nudge) * 2f64.powi(exponent - digits + 1);
                values.extend([x, -x]);
            }
        }
    }
    // Numbers below the least normal one, and the ends of the ranges.
    values.extend([1.5, 2.5, 1.5 + 2f64.powi(-40), 0.5, 0.5 + 2f64.powi(-40)].map(|x| x * 2f64.powi(-24)));
    values.extend([65504.0, 65519.0, 65519.999999999, 1e-300, 0.0, -0.0]);
    let bytes = encode(&values, ElementType::F64);
    let statistics = fitted(Method::None, 1);
    let convert = |output| {
        let mut source = MemoryRows::new("rows", &bytes, 1, ElementType::F64).unwrap();
        let bytes = collect(&Device::host(), &statistics, &mut source, output);
        bytes.chunks_exact(2).map(|e| u16::from_le_bytes([e[0], e[1]])).collect::<Vec<_>>()
    };
    let (halves, brains) = (convert(ElementType::F16), convert(ElementType::BF16));
    for ((x, half), brain) in values.iter().zip(halves).zip(brains) {
        let want = nearest(*x, f16::from_f64(*x).to_bits(), |bits| f16::from_bits(bits).to_f64());
        assert_eq!(half, want, "{x:e} as f16: {} for {}", f16::from_bits(half), f16::from_bits(want));
        let want = nearest(*x, bf16::from_f64(*x).to_bits(), |bits| bf16::from_bits(bits).to_f64());
        assert_eq!(brain, want, "{x:e} as bf16: {} for {}", bf16::from_bits(brain), bf16::from_bits(want));
    }
}
