//! Heads of an odd width, which attention's kernels do not have: each gets an element more, which is zero in queries, keys and values and is
//! not read behind them.

/// Heads of `width` elements, stored as `stored`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadShape {
    pub count: usize,
    pub width: usize,
}

impl HeadShape {
    /// Elements that a head has here.
    pub fn stored(&self) -> usize {
        self.width.next_multiple_of(2)
    }

    /// Elements of all heads.
    pub fn all(&self) -> usize {
        self.count * self.stored()
    }

    /// Whether heads have another width here than in files.
    pub fn padded(&self) -> bool {
        self.stored() != self.width
    }

    /// A matrix of `[heads · width, columns]` with rows of zeros behind each head's.
    pub fn rows(&self, matrix: &[f32], columns: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.all() * columns];
        let heads = matrix.chunks_exact(self.width * columns).zip(out.chunks_exact_mut(self.stored() * columns));
        heads.for_each(|(from, to)| to[..from.len()].copy_from_slice(from));
        out
    }

    /// A matrix of `[rows, heads · width]` with columns of zeros behind each head's.
    pub fn columns(&self, matrix: &[f32]) -> Vec<f32> {
        matrix.chunks_exact(self.count * self.width).flat_map(|row| self.rows(row, 1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_heads_are_filled_up() {
        let heads = HeadShape { count: 2, width: 3 };
        assert_eq!((heads.stored(), heads.all(), heads.padded()), (4, 8, true));
        assert_eq!(heads.rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1), [1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0]);
        let wide = heads.rows(&(0..12).map(|i| i as f32).collect::<Vec<_>>(), 2);
        assert_eq!(wide, [0., 1., 2., 3., 4., 5., 0., 0., 6., 7., 8., 9., 10., 11., 0., 0.]);
        assert_eq!(heads.columns(&[1., 2., 3., 4., 5., 6.]), [1., 2., 3., 0., 4., 5., 6., 0.]);
        assert!(!HeadShape { count: 5, width: 8 }.padded());
    }
}
