//! Small matrices as nalgebra's types: round trips, order, and what an app does with them.

use nalgebra::{DMatrix, DVector};
use realign::Device;
use realign::align::{Aligner, FitOptions, Mapped, Method, Statistics, apply_rows, fit};
use realign::geometry::{Cut, Frame};
use realign::stats::{Covariance, MemoryRows, StreamOptions, covariance as measure};

const D: usize = 5;

/// A matrix of these rows.
fn of_rows<const M: usize, const N: usize>(rows: [[f64; N]; M]) -> DMatrix<f64> {
    DMatrix::from_row_slice(M, N, rows.as_flattened())
}

fn vector(values: &[f64]) -> DVector<f64> {
    DVector::from_column_slice(values)
}

/// Rows that differ in spread by column, `[n, D]`.
fn rows(n: usize, phase: f32) -> Vec<f32> {
    (0..n * D).map(|i| ((i * i) as f32 * 0.37 + phase).sin() * (1.0 + (i % D) as f32) + phase).collect()
}

fn covariance(rows: &[f32]) -> Covariance {
    measure(&Device::host(), &mut MemoryRows::f32("rows", rows, D).unwrap(), StreamOptions::default()).unwrap()
}

fn fitted(method: Method) -> Statistics {
    let (text, image) = (rows(40, 0.4), rows(50, 0.9));
    let side = |rows| MemoryRows::f32("rows", rows, D).unwrap();
    fit(&Device::host(), &mut side(&text), &mut side(&image), &FitOptions::default().method(method)).unwrap()
}

#[test]
fn covariances_go_there_and_back() {
    let ours = covariance(&rows(40, 0.4));
    let (mean, matrix) = ours.to_nalgebra().unwrap();
    assert_eq!(mean.as_slice(), ours.mean);
    assert!((0..D).all(|i| (0..D).all(|j| matrix[(i, j)] == ours.matrix[i * D + j])));
    assert_eq!(Covariance::from_nalgebra(ours.count, &mean, &matrix, ours.error).unwrap(), ours);
}

#[test]
fn frames_have_their_directions_as_columns() {
    let (a, b) = (covariance(&rows(40, 0.4)), covariance(&rows(50, 0.9)));
    let frame = Frame::of(&a, &b, Cut::Rank(2)).unwrap();
    let u = frame.to_nalgebra();
    assert_eq!(u.shape(), (D, 2));
    assert_eq!(u.column(1).as_slice(), &frame.directions()[D..]);
    assert_eq!(Frame::from_nalgebra(&u).unwrap().directions(), frame.directions());
    let x = DVector::from_fn(D, |i, _| i as f64 - 1.5);
    let ours = DVector::from_vec(frame.coordinates(x.as_slice()).unwrap());
    assert!((u.transpose() * &x - ours).amax() < 1e-14);
    // Matrices of an app's own, without a copy.
    let (a, b) = (a.to_nalgebra().unwrap().1, b.to_nalgebra().unwrap().1);
    let other = Frame::of(&a, &b, Cut::Rank(2)).unwrap();
    assert!((other.to_nalgebra() - u).amax() < 1e-12);
}

/// Rows by nalgebra alone: P(A u + b), then P(r + h).
fn by_nalgebra(rows: &[f32], (map, shift, steps): &(DMatrix<f64>, DVector<f64>, Vec<DVector<f64>>)) -> Vec<f64> {
    let row = |row: &[f32]| {
        let u = DVector::from_iterator(D, row.iter().map(|&x| f64::from(x))).normalize();
        let r = (map * u + shift).normalize();
        steps.iter().fold(r, |r, h| (r + h).normalize())
    };
    rows.chunks_exact(D).flat_map(|r| row(r).as_slice().to_vec()).collect()
}

#[test]
fn a_map_by_nalgebra_is_ours() {
    let device = Device::host();
    let text = rows(40, 0.4);
    for method in [Method::Blockwise, Method::OptimalTransport, Method::ReAlign, Method::AnchorTrace, Method::MeanShift]
    {
        let statistics = fitted(method);
        let operator = statistics.operator_to_nalgebra().unwrap();
        let want = by_nalgebra(&text, &operator);
        let got = apply_rows(&device, &statistics, &text, D).unwrap();
        // f32 rows of norm 1, of some d rounded operations.
        let off = got.iter().zip(&want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
        assert!(off < 1e-6, "{method}: {off}");
        // As an operator of the app's own: f64 throughout.
        let (map, shift, steps) = &operator;
        let mapped = Mapped::from_nalgebra(map, shift, steps).unwrap();
        assert_eq!(mapped.to_nalgebra().unwrap(), operator);
        assert_eq!(mapped.width(), D);
        let unit = |row: &[f32]| DVector::from_iterator(D, row.iter().map(|&x| f64::from(x))).normalize();
        let mut own: Vec<f64> = text.chunks_exact(D).flat_map(|r| unit(r).as_slice().to_vec()).collect();
        mapped.map_rows(&mut own).unwrap();
        let off = own.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
        assert!(off < 1e-13, "{method}: {off}");
    }
    let (source, target) = fitted(Method::ReAlign).means_to_nalgebra();
    assert!(((target - source).norm() - fitted(Method::ReAlign).gap()).abs() < 1e-15);
    for method in [Method::C3, Method::None, Method::AnisoAlign] {
        assert!(fitted(method).operator_to_nalgebra().is_err(), "{method}");
    }
}

#[test]
fn order_is_kept_where_a_map_is_not_symmetric() {
    let (map, shift) = (of_rows([[0.0, 1.0], [0.5, 0.0]]), vector(&[0.0, 0.0]));
    let mapped = Mapped::from_nalgebra(&map, &shift, &[]).unwrap();
    assert_eq!(mapped.map, [0.0, 1.0, 0.5, 0.0]);
    let mut row = [0.6, 0.8];
    mapped.map_rows(&mut row).unwrap();
    let want = (&map * vector(&[0.6, 0.8])).normalize();
    assert!((DVector::from_row_slice(&row) - want).amax() < 1e-15);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let (mean, matrix) = (vector(&[0.1, 0.2]), of_rows([[1.0, 0.5], [0.5, 2.0]]));
    let made = |mean: &DVector<f64>, matrix: &DMatrix<f64>, error| Covariance::from_nalgebra(3, mean, matrix, error);
    assert!(made(&mean, &matrix, 1e-6).is_ok());
    for (mean, matrix, error) in [
        (vector(&[0.1]), matrix.clone(), 0.0),
        (DVector::zeros(0), DMatrix::zeros(0, 0), 0.0),
        (mean.clone(), of_rows([[1.0, 0.5, 0.0], [0.5, 2.0, 0.0]]), 0.0),
        (mean.clone(), of_rows([[1.0, 0.5], [0.4, 2.0]]), 0.0),
        (mean.clone(), of_rows([[-1.0, 0.0], [0.0, 2.0]]), 0.0),
        (mean.clone(), of_rows([[f64::NAN, 0.0], [0.0, 2.0]]), 0.0),
        (vector(&[0.1, f64::INFINITY]), matrix.clone(), 0.0),
        (mean.clone(), matrix.clone(), f64::NAN),
        (mean.clone(), matrix.clone(), 1.0),
    ] {
        assert!(made(&mean, &matrix, error).is_err(), "{mean} {matrix} {error}");
    }
    assert!(Frame::from_nalgebra(&of_rows([[1.0, 1.0], [0.0, 0.0]])).is_err());
    assert!(Frame::from_nalgebra(&DMatrix::zeros(0, 0)).is_err());
    assert!(Frame::of(&of_rows([[1.0, 0.0]]), &of_rows([[1.0, 0.0]]), Cut::Rank(1)).is_err());
    assert!(Mapped::from_nalgebra(&matrix, &vector(&[0.0]), &[]).is_err());
    assert!(Mapped::from_nalgebra(&matrix, &mean, &[vector(&[0.0])]).is_err());
    assert!(Mapped::from_nalgebra(&DMatrix::zeros(0, 0), &DVector::zeros(0), &[]).is_err());
    let mut odd = fitted(Method::Blockwise);
    odd.map = Some(vec![1.0; 3]);
    assert!(odd.operator_to_nalgebra().is_err());
}
