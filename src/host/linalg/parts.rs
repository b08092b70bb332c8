//! A product in parts, which cores take as they become free. faer's own threads wait for each other at barriers within a product: for the small ones
//! of an encoder that took a tenth of the time, more where other programs use the cores, too.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::host::nn::math::Float;

/// Columns of C that faer's kernels compute at a time with the widest vectors: parts are multiples of it, where they can be.
const COLUMNS: usize = 96;

/// Rows of C below which a part is not cut further: each part brings its columns of B in order, which has to pay.
const ROWS: usize = 64;

/// Multiplications of a part that are worth a task.
const WORK: usize = 1 << 19;

/// How many tasks a product should be cut into on the cores that there are: some more, for cores are not equally free.
fn tasks(work: usize) -> usize {
    let threads = rayon::current_num_threads();
    if threads == 1 { 1 } else { (work / WORK).clamp(1, 4 * threads) }
}

/// A part of `C = alpha A B`: A `[m, k]`, B `[k, n]`.
struct Part<'a, T> {
    /// Cᵀ, `[n, m]`, whose columns lie together.
    c: MatMut<'a, T>,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    /// Where it begins in the whole C.
    row: usize,
    column: usize,
}

/// What all parts have in common.
struct Rule<T, F> {
    accumulate: Accum,
    alpha: T,
    then: F,
}

impl<'a, T: Float> Part<'a, T> {
    fn run<F: Fn(usize, usize, &mut [T]) + Sync>(self, tasks: usize, rule: &Rule<T, F>) {
        let (n, m) = (self.c.nrows(), self.c.ncols());
        let halves = match tasks {
            0 | 1 => return self.multiply(rule),
            _ if n >= 2 * COLUMNS => self.cut_columns((n / 2).next_multiple_of(COLUMNS)),
            _ if m >= 2 * ROWS => self.cut_rows(m / 2),
            _ => return self.multiply(rule),
        };
        let each = tasks.div_ceil(2);
        rayon::join(|| halves.0.run(each, rule), || halves.1.run(each, rule));
    }

    fn cut_columns(self, at: usize) -> (Self, Self) {
        let (c, b) = (self.c.split_at_row_mut(at), self.b.split_at_col(at));
        (Part { c: c.0, b: b.0, ..self }, Part { c: c.1, b: b.1, column: self.column + at, ..self })
    }

    fn cut_rows(self, at: usize) -> (Self, Self) {
        let (c, a) = (self.c.split_at_col_mut(at), self.a.split_at_row(at));
        (Part { c: c.0, a: a.0, ..self }, Part { c: c.1, a: a.1, row: self.row + at, ..self })
    }

    fn multiply<F: Fn(usize, usize, &mut [T])>(mut self, rule: &Rule<T, F>) {
        matmul(self.c.as_mut().transpose_mut(), rule.accumulate, self.a, self.b, rule.alpha, Par::Seq);
        for (i, column) in self.c.col_iter_mut().enumerate() {
            // It does: C is made so.
            if let Some(column) = column.try_as_col_major_mut() {
                (rule.then)(self.row + i, self.column, column.as_slice_mut());
            }
        }
    }
}

/// Multiplies on all cores: `c` is Cᵀ `[n, m]` with columns that lie together, `a` `[m, k]`, `b` `[k, n]`. `then` changes the finished product: it gets
/// a row, a column, and the elements of C from there on.
pub(super) fn multiply<T: Float>(
    c: MatMut<'_, T>,
    (a, b): (MatRef<'_, T>, MatRef<'_, T>),
    (alpha, accumulate): (T, Accum),
    then: impl Fn(usize, usize, &mut [T]) + Sync,
) {
    let work = c.nrows().saturating_mul(c.ncols()).saturating_mul(a.ncols());
    let part = Part { c, a, b, row: 0, column: 0 };
    part.run(tasks(work), &Rule { accumulate, alpha, then });
}
