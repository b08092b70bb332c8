//! Centring, the one method that moves both sides: `normalise(y - μ_y)` beside `normalise(x - μ_x)` (GR-CLIP, arXiv 2507.19054). What it leaves
//! is measured between the two centred clouds.

use std::path::PathBuf;

use super::{Affine, Aligner, Method, Statistics};
use crate::geometry::rows::unit_rows;
use crate::io::EncoderId;
use crate::stats::{NonFinite, RowSource, decode, normalise, zero_nonfinite};
use crate::{ElementType, Result};

impl Statistics {
    /// The operator on the target's rows, for the method that moves them, too: `normalise(x - μ_x)` of [`Method::Centre`]. All others leave them where
    /// they are.
    pub fn target_aligner(&self) -> Option<Box<dyn Aligner>> {
        let away = || vec![self.mean_target.iter().map(|x| -x).collect()];
        self.method
            .centres()
            .then(|| Box::new(Affine { method: Method::Centre, scale: 1.0, vectors: away() }) as Box<dyn Aligner>)
    }
}

/// A source's rows as f32, centred: `normalise(u - μ)`.
pub(super) struct Centred<'a> {
    inner: &'a mut dyn RowSource,
    mean: Vec<f64>,
    nonfinite: NonFinite,
    block: Vec<u8>,
}

impl<'a> Centred<'a> {
    /// `mean` is as wide as the rows.
    pub fn new(inner: &'a mut dyn RowSource, mean: &[f64], nonfinite: NonFinite) -> Self {
        Centred { inner, mean: mean.to_vec(), nonfinite, block: Vec::new() }
    }

    fn inner_row(&self) -> usize {
        self.inner.width() * self.inner.element_type().bytes()
    }
}

impl RowSource for Centred<'_> {
    fn rows(&self) -> u64 {
        self.inner.rows()
    }

    fn width(&self) -> usize {
        self.inner.width()
    }

    fn element_type(&self) -> ElementType {
        ElementType::F32
    }

    fn rewind(&mut self) -> Result<()> {
        self.inner.rewind()
    }

    fn next(&mut self, most: usize, out: &mut [u8]) -> Result<usize> {
        let (row, element, width) = (self.inner_row(), self.inner.element_type(), self.width());
        self.block.resize(most * row, 0);
        let rows = self.inner.next(most, &mut self.block)?;
        let bytes = &mut self.block[..rows * row];
        if self.nonfinite == NonFinite::Zero {
            zero_nonfinite(bytes, element);
        }
        let mut unit = unit_rows(bytes, element, width);
        for row in unit.chunks_exact_mut(width) {
            row.iter_mut().zip(&self.mean).for_each(|(u, m)| *u -= m);
            normalise(row);
        }
        for (value, out) in unit.iter().zip(out.chunks_exact_mut(4)) {
            out.copy_from_slice(&(*value as f32).to_le_bytes());
        }
        Ok(rows)
    }

    fn locate(&mut self, row: u64, out: &mut [u8]) -> Result<(PathBuf, u64)> {
        // The row as it is in its file: the one whose bad values are to be named.
        let mut bytes = vec![0; self.inner_row()];
        let found = self.inner.locate(row, &mut bytes)?;
        let element = self.inner.element_type();
        for (bytes, out) in bytes.chunks_exact(element.bytes()).zip(out.chunks_exact_mut(4)) {
            out.copy_from_slice(&(decode(bytes, element) as f32).to_le_bytes());
        }
        Ok(found)
    }

    fn encoder(&self) -> Option<EncoderId> {
        // Centred rows are not the encoder's own.
        None
    }
}
