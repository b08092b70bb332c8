//! Linear algebra of unit rows of width 1280: products, covariance, neighbours, eigenvectors; on the host engine and on the adapter
//! that `REALIGN_BENCH_ADAPTER` names (default `llvmpipe`), beside nalgebra and faer's own product.
//!
//! `cargo bench --bench linalg`. All in one run, taking turns, the best of a few: times on shared cores vary by a third, ratios
//! within a run by less. Results are compared before they are believed. `-- accuracy` measures, instead, the covariance's error
//! against f64 on 100,000 rows whose mean has norm 0.99 (some minutes and 1.5 GB).

use std::hint::black_box;
use std::time::Instant;

use faer::linalg::matmul::matmul as faer_product;
use faer::linalg::matmul::triangular::{BlockStructure, matmul as half_product};
use faer::{Accum, Mat, MatRef, Par};
use nalgebra::DMatrix;
use realign::Result;
use realign::device::{Device, DeviceOptions, Selection, Tensor};
use realign::geometry::neighbours::{Rows, nearest};
use realign::geometry::{
    CovarianceView, Cut, Frame, LeadingOptions, leading, principal_angles, principal_angles_by_kernel,
    principal_vectors, principal_vectors_by_kernel, symmetric_eigen,
};
use realign::kernels::linalg::ExactForm;
use realign::kernels::linalg::exact_product::{self, Digits, Placement, Sums};
use realign::kernels::linalg::matmul::{self, Operand, Product};
use realign::kernels::linalg::slices::{self, Parts, Slices};
use realign::stats::{Covariance, MemoryRows, RowSource, StreamOptions, covariance, covariance_fast};

const WIDTH: usize = 1280;
const SIDE: usize = 1024;

/// Rows about a common direction, of norm 1: their mean has norm 0.99 where `spread` is 0.532 and d 1280.
fn rows(n: usize, d: usize, spread: f64) -> Vec<f32> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Uniform, of variance 1.
        ((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0) * 3f64.sqrt()
    };
    let unit = (d as f64).sqrt().recip();
    let mut out = Vec::with_capacity(n * d);
    for _ in 0..n {
        let row: Vec<f64> =
            (0..d).map(|j| unit * (1.0 + spread * (j as f64 / 40.0 + 0.3).recip().min(1.5) * next())).collect();
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        out.extend(row.iter().map(|x| (x / norm) as f32));
    }
    out
}

/// What is timed, and under which name.
type Entry<'a> = (String, Box<dyn FnMut() + 'a>);

/// The best of `rounds` times of each, in seconds; they take turns, after a round that does not count.
fn race(rounds: usize, entries: &mut [Entry<'_>]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; entries.len()];
    for round in 0..=rounds {
        for (best, (_, run)) in best.iter_mut().zip(entries.iter_mut()) {
            let start = Instant::now();
            run();
            if round > 0 {
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
    }
    best
}

/// Prints times, rates and, against the first entry, ratios.
fn report(what: &str, flops: f64, rounds: usize, mut entries: Vec<Entry<'_>>) {
    let times = race(rounds, &mut entries);
    println!("{what}");
    for ((name, _), time) in entries.iter().zip(&times) {
        let rate = if flops > 0.0 { format!("{:8.1} GFLOP/s", flops / time / 1e9) } else { String::new() };
        println!("  {name:32} {:9.1} ms {rate} {:6.2} x", time * 1e3, times[0] / time);
    }
}

fn relative(got: impl Iterator<Item = f64>, want: impl Iterator<Item = f64>) -> f64 {
    let (off, size) = got.zip(want).fold((0.0, 0.0), |(o, s), (g, w)| (o + (g - w).powi(2), s + w * w));
    (off / size).sqrt()
}

fn devices() -> Vec<(String, Device)> {
    let mut all = vec![("realign, host engine".to_owned(), Device::host())];
    let name = std::env::var("REALIGN_BENCH_ADAPTER").ok().filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "llvmpipe".to_owned());
    let options = DeviceOptions::default().selection(Selection::Named(name.clone()));
    match Device::request_blocking(&options) {
        Ok(device) => all.push((format!("realign, {name}"), device)),
        Err(error) => println!("skipped {name}: {error}"),
    }
    all
}

fn wait(device: &Device, record: impl FnOnce(&mut realign::device::Recorder) -> Result<()>) {
    let mut recorder = device.recorder();
    record(&mut recorder).and_then(|()| recorder.submit()?.wait()).expect("a product of matrices that fit");
}

fn products(devices: &[(String, Device)]) -> Result<()> {
    let data = rows(2 * SIDE, SIDE, 1.0);
    let (a, b) = data.split_at(SIDE * SIDE);
    let view = |data| MatRef::from_row_major_slice(data, SIDE, SIDE);
    let mut c = Mat::<f32>::zeros(SIDE, SIDE);
    faer_product(&mut c, Accum::Replace, view(a), view(b), 1.0, Par::rayon(0));
    let want: Vec<f64> = (0..SIDE * SIDE).map(|at| f64::from(c[(at / SIDE, at % SIDE)])).collect();
    let (na, nb) = (DMatrix::from_row_slice(SIDE, SIDE, a), DMatrix::from_row_slice(SIDE, SIDE, b));
    let mut nc = DMatrix::<f32>::zeros(SIDE, SIDE);
    let mut entries: Vec<Entry<'_>> = vec![
        ("faer".into(), Box::new(|| faer_product(&mut c, Accum::Replace, view(a), view(b), 1.0, Par::rayon(0)))),
        ("nalgebra, one thread".into(), Box::new(|| na.mul_to(black_box(&nb), &mut nc))),
    ];
    for (name, device) in devices {
        let (at, bt) = (Tensor::from_f32(device, a, SIDE)?, Tensor::from_f32(device, b, SIDE)?);
        let ct = Tensor::new(device, SIDE, SIDE, realign::ElementType::F32)?;
        let run = move || {
            let operands = (Operand::new(&at), Operand::new(&bt));
            wait(device, |r| matmul::record(r, Product::default(), operands, (&ct, 0)));
            ct.clone()
        };
        let got = run().to_f32_blocking(device)?;
        let error = relative(got.iter().map(|&x| f64::from(x)), want.iter().copied());
        assert!(error < 1e-5, "{name}: {error:e}");
        entries.push((name.clone(), Box::new(move || drop(run()))));
    }
    report(&format!("product of [{SIDE}, {SIDE}] f32"), 2.0 * (SIDE as f64).powi(3), 5, entries);
    Ok(())
}

/// Integers of 43 bits, in every form, beside products of floats of the same shape. FLOPs count a product of integers as one.
fn exact_products(devices: &[(String, Device)]) -> Result<()> {
    const SIDE: usize = 512;
    let data = rows(2 * SIDE, SIDE, 1.0);
    let wide: Vec<f64> = data.iter().map(|&x| (f64::from(x) * 2f64.powi(43)).round()).collect();
    let (a, b) = data.split_at(SIDE * SIDE);
    let (left, right) = wide.split_at(SIDE * SIDE);
    let view = |data| MatRef::from_row_major_slice(data, SIDE, SIDE);
    let (a64, b64) = (view(left), view(right));
    let mut c = Mat::<f64>::zeros(SIDE, SIDE);
    let mut entries: Vec<Entry<'_>> = vec![(
        "faer, f64, rounded".into(),
        Box::new(|| faer_product(&mut c, Accum::Replace, a64.transpose(), b64, 1.0, Par::rayon(0))),
    )];
    for (name, device) in devices {
        let (at, bt) = (Tensor::from_f32(device, a, SIDE)?, Tensor::from_f32(device, b, SIDE)?);
        let ct = Tensor::new(device, SIDE, SIDE, realign::ElementType::F32)?;
        let run = move || {
            let operands = (Operand::new(&at).transposed(), Operand::new(&bt));
            wait(device, |r| matmul::record(r, Product::default(), operands, (&ct, 0)));
        };
        entries.push((format!("{name}, f32, rounded"), Box::new(run)));
        for form in ExactForm::ALL {
            let sums = Sums::new(device, SIDE, SIDE)?;
            let placement = Placement::default();
            let run: Box<dyn FnMut()> = match form.slices() {
                None => {
                    let [mut a, mut b] = [Digits::new(device, SIDE, SIDE)?, Digits::new(device, SIDE, SIDE)?];
                    a.write(device, left)?;
                    b.write(device, right)?;
                    Box::new(move || wait(device, |r| exact_product::record(r, &a, &b, placement, &sums)))
                }
                Some(element) => {
                    let new = || Slices::new(device, SIDE, SIDE, element);
                    let ([mut a, mut b], parts) = ([new()?, new()?], Parts::new(device, SIDE, SIDE)?);
                    a.write(device, left)?;
                    b.write(device, right)?;
                    Box::new(move || wait(device, |r| slices::record(r, (&a, &b), placement, (&parts, &sums))))
                }
            };
            entries.push((format!("{name}, {form}"), run));
        }
    }
    report(&format!("exact product of [{SIDE}, {SIDE}]"), 2.0 * (SIDE as f64).powi(3), 3, entries);
    Ok(())
}

type Measure = fn(&Device, &mut dyn RowSource, StreamOptions<'_>) -> realign::Result<Covariance>;

/// FLOPs count half of the symmetric matrix. faer and nalgebra get rows that are normalised and centred already.
fn covariances(devices: &[(String, Device)]) -> Result<()> {
    let n = 20_000;
    let data = rows(n, WIDTH, 1.0);
    let view = MatRef::from_row_major_slice(&data, n, WIDTH);
    let mut sum = Mat::<f32>::zeros(WIDTH, WIDTH);
    let (full, turned) = (DMatrix::from_row_slice(n, WIDTH, &data), DMatrix::from_column_slice(WIDTH, n, &data));
    let mut gram = DMatrix::<f32>::zeros(WIDTH, WIDTH);
    let (upper, all) = (BlockStructure::TriangularUpper, BlockStructure::Rectangular);
    let mut entries: Vec<Entry<'_>> = vec![
        (
            "faer, half of AᵀA alone".into(),
            Box::new(|| {
                half_product(&mut sum, upper, Accum::Replace, view.transpose(), all, view, all, 1.0, Par::rayon(0))
            }),
        ),
        ("nalgebra, AᵀA alone, one thread".into(), Box::new(|| turned.mul_to(black_box(&full), &mut gram))),
    ];
    for (name, device) in devices {
        let data = &data;
        for (mode, measure) in [("exact", covariance as Measure), ("f32", covariance_fast)] {
            let run = move || {
                let mut source = MemoryRows::f32("rows", data, WIDTH)?;
                measure(device, &mut source, StreamOptions::default())
            };
            run()?;
            entries.push((format!("{name}, {mode}"), Box::new(move || drop(black_box(run().expect("finite rows"))))));
        }
    }
    report(&format!("covariance of [{n}, {WIDTH}] f32"), (n * WIDTH * (WIDTH + 1)) as f64, 2, entries);
    Ok(())
}

fn neighbours(devices: &[(String, Device)]) -> Result<()> {
    let n = 5000;
    let data = rows(2 * n, WIDTH, 1.0);
    let (a, b) = data.split_at(n * WIDTH);
    let view = |data| MatRef::from_row_major_slice(data, n, WIDTH);
    let mut c = Mat::<f32>::zeros(n, n);
    let mut entries: Vec<Entry<'_>> = vec![(
        "faer, the product alone".into(),
        Box::new(|| faer_product(&mut c, Accum::Replace, view(a), view(b).transpose(), 1.0, Par::rayon(0))),
    )];
    for (name, device) in devices {
        let (a, b) = (Rows::new(a, WIDTH)?, Rows::new(b, WIDTH)?);
        let run = move || black_box(nearest(device, a, b, 10, None).expect("rows that fit"));
        entries.push((name.clone(), Box::new(move || drop(run()))));
    }
    report(&format!("10 nearest of {n} among {n}, width {WIDTH}"), 2.0 * (n * n * WIDTH) as f64, 1, entries);
    Ok(())
}

/// A covariance of order `d` whose eigenvalues are flat for some ten and then fall as k⁻².
fn falling(d: usize) -> Result<Vec<f64>> {
    let wide: Vec<f64> = rows(4 * d, d, 1.0).iter().map(|&x| f64::from(x)).collect();
    Ok(Covariance::of_rows(&wide, d)?.matrix)
}

fn eigenvectors(devices: &[(String, Device)], d: usize, r: usize) -> Result<()> {
    let matrix = falling(d)?;
    let dense = DMatrix::from_row_slice(d, d, &matrix);
    let mut entries: Vec<Entry<'_>> = vec![
        ("all, by faer".into(), Box::new(|| drop(black_box(symmetric_eigen(&matrix, d).expect("symmetric"))))),
        ("all, by nalgebra".into(), Box::new(|| drop(black_box(dense.clone().symmetric_eigen())))),
    ];
    for (name, device) in devices {
        let found = leading(device, &matrix, d, r, LeadingOptions::default())?;
        let matrix = &matrix;
        let run = move || leading(device, matrix, d, r, LeadingOptions::default()).expect("converged before");
        println!("  {name}: {} iterations, residual {:.1e}", found.iterations, found.residual);
        entries.push((format!("{r} leading, {name}"), Box::new(move || drop(black_box(run())))));
    }
    report(&format!("eigenvectors of [{d}, {d}]"), 0.0, 2, entries);
    Ok(())
}

/// Between the leading spans of two sets of rows, [d, r] each, on the host.
fn angles(devices: &[(String, Device)], d: usize, r: usize) -> Result<()> {
    let span = |seed: usize| {
        // The first columns vary most: rolling them turns the span.
        let mut wide: Vec<f64> = rows(2 * d, d, 1.0).iter().map(|&x| f64::from(x)).collect();
        wide.chunks_exact_mut(d).for_each(|row| row.rotate_right(seed));
        let matrix = Covariance::of_rows(&wide, d)?.matrix;
        Frame::of(CovarianceView::new(&matrix, d), CovarianceView::new(&vec![0.0; d * d], d), Cut::Rank(r))
    };
    let (a, b) = (span(0)?, span(7)?);
    let dense = |frame: &Frame| DMatrix::from_row_slice(r, d, frame.directions());
    let (na, nb) = (dense(&a), dense(&b));
    let mut entries: Vec<Entry<'_>> = vec![
        ("nalgebra, cosines alone".into(), Box::new(|| drop(black_box((&na * nb.transpose()).singular_values())))),
        ("realign, f64".into(), Box::new(|| drop(black_box(principal_angles(&a, &b).expect("frames of one width"))))),
        (
            "realign, f64, with vectors".into(),
            Box::new(|| drop(black_box(principal_vectors(&a, &b).expect("frames of one width")))),
        ),
    ];
    // Half a minute and more beyond, on what runs on a CPU.
    for (name, device) in devices.iter().filter(|(_, device)| r <= 64 || device.capabilities().kind.is_gpu()) {
        let (a, b) = (&a, &b);
        let run = move || principal_angles_by_kernel(device, a, b).expect("frames of one width");
        entries.push((format!("{name}, of integers"), Box::new(move || drop(black_box(run())))));
        let run = move || principal_vectors_by_kernel(device, a, b).expect("frames of one width");
        entries.push((format!("{name}, of integers, with vectors"), Box::new(move || drop(black_box(run())))));
    }
    report(&format!("principal angles of two [{d}, {r}] frames"), 0.0, 5, entries);
    Ok(())
}

fn accuracy(devices: &[(String, Device)]) -> Result<()> {
    let n = 100_000;
    let data = rows(n, WIDTH, 0.532);
    // f64 all the way, in two passes: rows, mean, half products by faer.
    let mut mean = vec![0.0; WIDTH];
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        row.iter().map(move |&x| f64::from(x) / norm).collect::<Vec<_>>()
    };
    for row in data.chunks_exact(WIDTH) {
        mean.iter_mut().zip(unit(row)).for_each(|(m, x)| *m += x / n as f64);
    }
    let mut want = Mat::<f64>::zeros(WIDTH, WIDTH);
    for block in data.chunks(4000 * WIDTH) {
        let centred: Vec<f64> = block
            .chunks_exact(WIDTH)
            .flat_map(|r| unit(r).into_iter().zip(&mean).map(|(x, m)| x - m).collect::<Vec<_>>())
            .collect();
        let view = MatRef::from_row_major_slice(&centred, block.len() / WIDTH, WIDTH);
        faer_product(&mut want, Accum::Add, view.transpose(), view, 1.0 / n as f64, Par::rayon(0));
    }
    println!("covariance of [{n}, {WIDTH}], mean of norm {:.4}", mean.iter().map(|x| x * x).sum::<f64>().sqrt());
    let modes = devices
        .iter()
        .flat_map(|device| [("exact", covariance as Measure), ("f32", covariance_fast)].map(|m| (device, m)));
    for ((name, device), (mode, measure)) in modes {
        for count in [1000, 10_000, n] {
            if count < n {
                let part = &data[..count * WIDTH];
                let rows: Vec<f64> = part.chunks_exact(WIDTH).flat_map(unit).collect();
                let exact = Covariance::of_rows(&rows, WIDTH)?;
                let got = measure(device, &mut MemoryRows::f32("rows", part, WIDTH)?, StreamOptions::default())?;
                println!(
                    "  {name}, {mode}, {count} rows: {:.2e}",
                    relative(got.matrix.into_iter(), exact.matrix.into_iter())
                );
                continue;
            }
            let got = measure(device, &mut MemoryRows::f32("rows", &data, WIDTH)?, StreamOptions::default())?;
            let exact = (0..WIDTH * WIDTH).map(|at| want[(at / WIDTH, at % WIDTH)]);
            println!("  {name}, {mode}, {count} rows: {:.2e}", relative(got.matrix.into_iter(), exact));
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let devices = devices();
    if std::env::args().any(|a| a == "accuracy") {
        return accuracy(&devices);
    }
    products(&devices)?;
    exact_products(&devices)?;
    for r in [64, 128, 512] {
        angles(&devices, WIDTH, r)?;
    }
    covariances(&devices)?;
    neighbours(&devices)?;
    eigenvectors(&devices, 512, 64)?;
    eigenvectors(&devices[..1], WIDTH, 64)
}
