//! Products, covariances and eigenvectors by faer and nalgebra, on the host.

use std::hint::black_box;

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{BlockStructure, matmul as half_product};
use faer::{Accum, Mat, MatRef, Par, Side};

use crate::{Peer, Sizes, measure, numbers};

fn threads() -> String {
    format!("cpu, {} threads", std::thread::available_parallelism().map_or(1, usize::from))
}

/// Rows that are not centred.
fn embeddings(sizes: &Sizes) -> Vec<f32> {
    numbers(1, sizes.rows * sizes.width).into_iter().map(|x| x + 0.1).collect()
}

/// Makes rows unit rows, and takes their mean from them.
fn centre(rows: &mut [f32], width: usize) {
    let mut mean = vec![0f64; width];
    let count = (rows.len() / width) as f64;
    for row in rows.chunks_exact_mut(width) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
        mean.iter_mut().zip(&*row).for_each(|(m, x)| *m += f64::from(*x) / count);
    }
    for row in rows.chunks_exact_mut(width) {
        row.iter_mut().zip(&mean).for_each(|(x, m)| *x -= *m as f32);
    }
}

/// A covariance in f64 whose spectrum falls.
fn falling(width: usize) -> Vec<f64> {
    let fall = |(i, x): (usize, f32)| f64::from(x) / ((i % width) as f64 / 40.0 + 0.3);
    let rows: Vec<f64> = numbers(3, 2 * width * width).into_iter().enumerate().map(fall).collect();
    let rows = MatRef::from_row_major_slice(&rows, 2 * width, width);
    let product = rows.transpose() * rows;
    (0..width * width).map(|at| product[(at / width, at % width)]).collect()
}

pub fn faer(sizes: &Sizes, seconds: f64) -> Peer {
    let (n, d) = (sizes.side, sizes.width);
    let matrix = |seed| {
        let data = numbers(seed, n * n);
        Mat::<f32>::from_fn(n, n, |i, j| data[i * n + j])
    };
    let (a, b, mut c) = (matrix(1), matrix(2), Mat::<f32>::zeros(n, n));
    let par = Par::rayon(0);
    let mut cases = Vec::new();
    for name in ["product A B", "product A Bᵀ", "product Aᵀ B"] {
        let left = if name.contains("Aᵀ") { a.transpose() } else { a.as_ref() };
        let right = if name.contains("Bᵀ") { b.transpose() } else { b.as_ref() };
        cases.push((name, measure(seconds, || matmul(c.as_mut(), Accum::Replace, left, right, 1.0, par))));
    }
    black_box(&c);
    let (rows, mut square) = (embeddings(sizes), Mat::<f32>::zeros(d, d));
    let covariance = || {
        let mut rows = rows.clone();
        centre(&mut rows, d);
        let (rows, scale) = (MatRef::from_row_major_slice(&rows, sizes.rows, d), 1.0 / sizes.rows as f32);
        let (half, whole) = (BlockStructure::TriangularUpper, BlockStructure::Rectangular);
        half_product(square.as_mut(), half, Accum::Replace, rows.transpose(), whole, rows, whole, scale, par);
    };
    cases.push(("covariance", measure(seconds, covariance)));
    black_box(&square);
    let matrix = falling(d);
    let matrix = MatRef::from_row_major_slice(&matrix, d, d);
    let all = || drop(black_box(matrix.self_adjoint_eigen(Side::Lower).expect("eigenvectors")));
    cases.push(("64 leading eigenvectors", measure(seconds, all)));
    Peer { version: "0.24", device: threads(), cases }
}

pub fn nalgebra(sizes: &Sizes, seconds: f64) -> Peer {
    let (n, d) = (sizes.side, sizes.width);
    let matrix = |seed| nalgebra::DMatrix::<f32>::from_vec(n, n, numbers(seed, n * n));
    let (a, b) = (matrix(1), matrix(2));
    let rows = embeddings(sizes);
    let covariance = || {
        let mut rows = rows.clone();
        centre(&mut rows, d);
        // By columns, as nalgebra keeps matrices: the transposed rows.
        let rows = nalgebra::DMatrix::from_vec(d, sizes.rows, rows);
        drop(black_box(&rows * rows.transpose() / sizes.rows as f32));
    };
    let square = nalgebra::DMatrix::from_vec(d, d, falling(d));
    let cases = vec![
        ("product A B", measure(seconds, || drop(black_box(&a * &b)))),
        ("product Aᵀ B", measure(seconds, || drop(black_box(a.tr_mul(&b))))),
        ("covariance", measure(seconds, covariance)),
        ("64 leading eigenvectors", measure(seconds, || drop(black_box(square.clone().symmetric_eigen())))),
    ];
    Peer { version: "0.35", device: "cpu, one thread".into(), cases }
}
