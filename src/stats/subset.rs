//! Some rows of a source: halves, samples.

use std::path::PathBuf;

use super::rows::{RowSource, tight_bytes};
use crate::io::EncoderId;
use crate::{ElementType, Result};

/// The rows of a source whose index a rule keeps, in their order.
pub struct Subset<'a> {
    inner: &'a mut dyn RowSource,
    keep: Box<dyn Fn(u64) -> bool + Send + 'a>,
    rows: u64,
    /// Index in `inner` of the row that comes next.
    at: u64,
    block: Vec<u8>,
}

impl std::fmt::Debug for Subset<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subset({} of {} rows)", self.rows, self.inner.rows())
    }
}

impl<'a> Subset<'a> {
    /// The rows for which `keep` holds; it is asked for each index, as often as the rows are read.
    pub fn new(inner: &'a mut dyn RowSource, keep: impl Fn(u64) -> bool + Send + 'a) -> Self {
        let rows = (0..inner.rows()).filter(|&i| keep(i)).count() as u64;
        Subset { inner, keep: Box::new(keep), rows, at: 0, block: Vec::new() }
    }

    /// Rows 0, 2, 4, …: for fitting.
    pub fn even(inner: &'a mut dyn RowSource) -> Self {
        Self::new(inner, |i| i % 2 == 0)
    }

    /// Rows 1, 3, 5, …: held out.
    pub fn odd(inner: &'a mut dyn RowSource) -> Self {
        Self::new(inner, |i| i % 2 == 1)
    }
}

impl RowSource for Subset<'_> {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn width(&self) -> usize {
        self.inner.width()
    }

    fn element_type(&self) -> ElementType {
        self.inner.element_type()
    }

    fn encoder(&self) -> Option<EncoderId> {
        self.inner.encoder()
    }

    fn rewind(&mut self) -> Result<()> {
        self.at = 0;
        self.inner.rewind()
    }

    fn next(&mut self, most: usize, out: &mut [u8]) -> Result<usize> {
        let tight = tight_bytes(self.inner);
        self.block.resize(most * tight, 0);
        loop {
            let read = self.inner.next(most, &mut self.block)?;
            let mut kept = 0;
            for i in 0..read {
                if (self.keep)(self.at + i as u64) {
                    out[kept * tight..(kept + 1) * tight].copy_from_slice(&self.block[i * tight..(i + 1) * tight]);
                    kept += 1;
                }
            }
            self.at += read as u64;
            if kept > 0 || read == 0 {
                return Ok(kept);
            }
        }
    }

    fn locate(&mut self, row: u64, out: &mut [u8]) -> Result<(PathBuf, u64)> {
        let found = (0..self.inner.rows()).filter(|&i| (self.keep)(i)).nth(row as usize);
        // Beyond the end the inner source says so.
        let index = found.unwrap_or(self.inner.rows());
        self.inner.locate(index, out)
    }
}
