//! Dense f64 algebra on the host: thin names for what the geometry asks of faer.

use faer::linalg::matmul::{matmul, triangular};
use faer::{Accum, Mat, MatRef, Side};

use crate::{Error, Result};

/// A view of row-major values `[rows, columns]`.
pub(crate) fn view(values: &[f64], rows: usize, columns: usize) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(&values[..rows * columns], rows, columns)
}

/// A view of a symmetric matrix `[d, d]`, or an error that names the operand.
pub(crate) fn square<'a>(operation: &'static str, values: &'a [f64], d: usize) -> Result<MatRef<'a, f64>> {
    if d == 0 || d.checked_mul(d) != Some(values.len()) {
        return Err(Error::shape(operation, "matrix", format!("[{d}, {d}]"), format!("{} values", values.len())));
    }
    Ok(view(values, d, d))
}

/// `a b`.
pub(crate) fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    product_to(&mut out, Accum::Replace, a, b);
    out
}

/// `a b` in place of `out`, or added to it.
pub(crate) fn product_to(out: &mut Mat<f64>, accum: Accum, a: MatRef<'_, f64>, b: MatRef<'_, f64>) {
    matmul(out, accum, a, b, 1.0, faer::get_global_parallelism());
}

/// `a b` into row-major `out`, `[a's rows, b's columns]`.
pub(crate) fn product_into(a: MatRef<'_, f64>, b: MatRef<'_, f64>, out: &mut [f64]) {
    add_product(out, Accum::Replace, (a, b), 1.0);
}

/// `factor a b` in place of row-major `out`, `[a's rows, b's columns]`, or added to it.
pub(crate) fn add_product(out: &mut [f64], accum: Accum, (a, b): (MatRef<'_, f64>, MatRef<'_, f64>), factor: f64) {
    let out = faer::MatMut::from_row_major_slice_mut(out, a.nrows(), b.ncols());
    matmul(out, accum, a, b, factor, faer::get_global_parallelism());
}

/// Adds `rᵀ r` to the lower triangle of `sum`.
pub(crate) fn add_gram(sum: &mut Mat<f64>, r: MatRef<'_, f64>) {
    let (lower, full) = (triangular::BlockStructure::TriangularLower, triangular::BlockStructure::Rectangular);
    let par = faer::get_global_parallelism();
    triangular::matmul(sum, lower, Accum::Add, r.transpose(), full, r, full, 1.0, par);
}

/// Row-major values.
pub(crate) fn rows_of(m: MatRef<'_, f64>) -> Vec<f64> {
    (0..m.nrows()).flat_map(|i| (0..m.ncols()).map(move |j| m[(i, j)])).collect()
}

/// Eigenvalues of a symmetric matrix in descending order.
pub(crate) fn eigenvalues(matrix: MatRef<'_, f64>) -> Result<Vec<f64>> {
    let d = matrix.nrows();
    if d == 0 {
        return Ok(Vec::new());
    }
    let mut values = matrix.self_adjoint_eigenvalues(Side::Lower).map_err(|_| no_convergence("eigenvalues", d))?;
    values.reverse();
    Ok(values)
}

/// Singular values in descending order.
pub(crate) fn singular_values(matrix: MatRef<'_, f64>) -> Result<Vec<f64>> {
    if matrix.nrows() == 0 || matrix.ncols() == 0 {
        return Ok(Vec::new());
    }
    matrix.singular_values().map_err(|_| no_convergence("singular values", matrix.ncols()))
}

/// Singular values in descending order, and the right singular vectors in the columns of `[n, n]`; of m rows below n the others are zeros' and complete them.
pub(crate) fn right_singular(matrix: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let n = matrix.ncols();
    if matrix.nrows() == 0 || n == 0 {
        return Ok((vec![0.0; n], Mat::identity(n, n)));
    }
    let found = matrix.svd().map_err(|_| no_convergence("singular values", n))?;
    let mut values: Vec<f64> = found.S().column_vector().iter().copied().collect();
    values.resize(n, 0.0);
    Ok((values, found.V().to_owned()))
}

fn no_convergence(what: &str, d: usize) -> Error {
    Error::degenerate(format!(
        "the {what} of a matrix of width {d} did not converge; has it values that are not finite?"
    ))
}
