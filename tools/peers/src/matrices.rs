//! Products by faer and nalgebra, on the host.

use std::hint::black_box;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

use crate::{Peer, measure, numbers};

fn threads() -> String {
    format!("cpu, {} threads", std::thread::available_parallelism().map_or(1, usize::from))
}

pub fn faer(n: usize, seconds: f64) -> Peer {
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
    Peer { version: "0.24", device: threads(), cases }
}

pub fn nalgebra(n: usize, seconds: f64) -> Peer {
    let matrix = |seed| nalgebra::DMatrix::<f32>::from_vec(n, n, numbers(seed, n * n));
    let (a, b) = (matrix(1), matrix(2));
    let cases = vec![
        ("product A B", measure(seconds, || drop(black_box(&a * &b)))),
        ("product Aᵀ B", measure(seconds, || drop(black_box(a.tr_mul(&b))))),
    ];
    Peer { version: "0.35", device: "cpu, one thread".into(), cases }
}
