//! Unit rows in f64, block by block, from any row source.

use rayon::prelude::*;

use crate::stats::{
    NonFinite, RowSource, StreamOptions, decode, first_nonfinite, nonfinite_error, normalise, zero_nonfinite,
};
use crate::{ElementType, Error, Result};

/// Rows of a block.
pub(crate) const BLOCK_ROWS: usize = 1024;

/// Reads a source from its start in blocks of [`BLOCK_ROWS`] (fewer only at the end), so that two sources keep step.
pub(crate) struct UnitRows<'a> {
    source: &'a mut dyn RowSource,
    options: StreamOptions<'a>,
    bytes: Vec<u8>,
    next_row: u64,
    replaced: u64,
}

impl<'a> UnitRows<'a> {
    pub fn new(source: &'a mut dyn RowSource, options: StreamOptions<'a>) -> Result<Self> {
        options.check()?;
        source.rewind()?;
        let bytes = vec![0; BLOCK_ROWS * source.width() * source.element_type().bytes()];
        Ok(UnitRows { source, options, bytes, next_row: 0, replaced: 0 })
    }

    /// Values that were not finite and read as 0.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The next block as rows of norm 1, `[m, d]`; empty at the end. A row of norm below 1e-10 stays as it is [spec 1].
    pub fn next(&mut self) -> Result<Vec<f64>> {
        let tight = self.source.width() * self.source.element_type().bytes();
        let mut rows = 0;
        while rows < BLOCK_ROWS {
            match self.source.next(BLOCK_ROWS - rows, &mut self.bytes[rows * tight..])? {
                0 => break,
                more => rows += more,
            }
        }
        self.take(rows)
    }

    /// As [`UnitRows::next`], but ends a block where the source ends one: no block holds rows of two files.
    pub fn next_piece(&mut self) -> Result<Vec<f64>> {
        let rows = self.source.next(BLOCK_ROWS, &mut self.bytes)?;
        self.take(rows)
    }

    /// The first `rows` rows of the buffer.
    fn take(&mut self, rows: usize) -> Result<Vec<f64>> {
        let (width, element) = (self.source.width(), self.source.element_type());
        let tight = width * element.bytes();
        let bytes = &mut self.bytes[..rows * tight];
        if self.options.nonfinite == NonFinite::Zero {
            self.replaced += zero_nonfinite(bytes, element);
        } else if let Some(at) = first_nonfinite(bytes, element) {
            return Err(nonfinite_error(self.source, self.next_row + (at / width) as u64));
        }
        self.next_row += rows as u64;
        let out = unit_rows(bytes, element, width);
        if let Some(progress) = self.options.progress {
            progress(rows as u64);
        }
        Ok(out)
    }
}

/// Tight rows as rows of norm 1.
pub(crate) fn unit_rows(bytes: &[u8], element: ElementType, width: usize) -> Vec<f64> {
    let mut out = vec![0.0; bytes.len() / element.bytes()];
    let rows = bytes.par_chunks_exact(width * element.bytes());
    out.par_chunks_exact_mut(width).zip(rows).for_each(|(row, bytes)| {
        row.iter_mut().zip(bytes.chunks_exact(element.bytes())).for_each(|(r, e)| *r = decode(e, element));
        normalise(row);
    });
    out
}

/// Checks that a flat slice is whole rows of `width`, and returns their number.
pub(crate) fn count<T>(operation: &'static str, operand: &str, rows: &[T], width: usize) -> Result<usize> {
    if width == 0 || !rows.len().is_multiple_of(width) {
        let want = format!("whole rows of width {width}");
        return Err(Error::shape(operation, operand, want, format!("{} values", rows.len())));
    }
    Ok(rows.len() / width)
}

/// Checks that a vector has the width.
pub(crate) fn check_width(operation: &'static str, operand: &str, width: usize, got: usize) -> Result<()> {
    if width != got {
        return Err(Error::shape(operation, operand, format!("width {width}"), format!("width {got}")));
    }
    Ok(())
}

/// Mean of a source's unit rows, `[d]`, f64, and their number.
pub(crate) fn mean(source: &mut dyn RowSource, options: StreamOptions<'_>) -> Result<(Vec<f64>, u64)> {
    let mut total = vec![0.0; source.width()];
    let (mut rows, mut n) = (UnitRows::new(source, options)?, 0);
    loop {
        let block = rows.next()?;
        if block.is_empty() {
            break;
        }
        for row in block.chunks_exact(total.len()) {
            total.iter_mut().zip(row).for_each(|(t, r)| *t += r);
            n += 1;
        }
    }
    total.iter_mut().for_each(|t| *t /= (n as f64).max(1.0));
    Ok((total, n))
}
