//! Where rows come from: files or memory, block by block.

use std::path::PathBuf;

use super::{NonFinite, ZeroRows};
use crate::io::{Dataset, EncoderId, RowReader};
use crate::{ElementType, Error, Result};

/// Rows `[n, d]` of one element type, readable from the start as often as needed.
pub trait RowSource: Send {
    /// n.
    fn rows(&self) -> u64;
    /// d.
    fn width(&self) -> usize;
    /// The type of the bytes that [`RowSource::next`] gives.
    fn element_type(&self) -> ElementType;
    /// Goes back to the first row.
    ///
    /// # Errors
    /// A file that cannot be opened again.
    fn rewind(&mut self) -> Result<()>;
    /// Reads up to `most` rows, tight and little-endian, to the start of `out`; returns how many, 0 at the end. A block may
    /// end early, at the end of a file.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn next(&mut self, most: usize, out: &mut [u8]) -> Result<usize>;
    /// Reads row `row` again and returns its file's path and its index there.
    ///
    /// # Errors
    /// A file that cannot be read; no such row.
    fn locate(&mut self, row: u64, out: &mut [u8]) -> Result<(PathBuf, u64)>;
    /// The encoder that made the rows, where one is known and no other beside it.
    fn encoder(&self) -> Option<EncoderId> {
        None
    }
}

/// Bytes of a tight row.
pub(crate) fn tight_bytes(source: &dyn RowSource) -> usize {
    source.width() * source.element_type().bytes()
}

/// The rows of a data set on disk.
#[derive(Debug)]
pub struct DatasetRows<'a> {
    dataset: &'a Dataset,
    shard: usize,
    reader: Option<RowReader>,
    left: u64,
    /// The next row's index in the data set.
    next_row: u64,
    nonfinite: NonFinite,
    zero: ZeroRows,
}

impl<'a> DatasetRows<'a> {
    /// From the first row.
    pub fn new(dataset: &'a Dataset) -> Self {
        let (nonfinite, zero) = (NonFinite::Error, ZeroRows::default());
        DatasetRows { dataset, shard: 0, reader: None, left: 0, next_row: 0, nonfinite, zero }
    }

    /// The same with NaN and infinities counted as `nonfinite` says in [`DatasetRows::zero_rows`].
    #[must_use]
    pub fn nonfinite(self, nonfinite: NonFinite) -> Self {
        DatasetRows { nonfinite, ..self }
    }

    /// Rows of zeros among those that were read so far, in all passes together.
    pub fn zero_rows(&self) -> ZeroRows {
        self.zero
    }

    /// The shard that the last block came from.
    pub fn shard(&self) -> usize {
        self.shard.saturating_sub(1)
    }
}

impl RowSource for DatasetRows<'_> {
    fn rows(&self) -> u64 {
        self.dataset.rows()
    }

    fn width(&self) -> usize {
        self.dataset.width()
    }

    fn element_type(&self) -> ElementType {
        self.dataset.element_type()
    }

    fn encoder(&self) -> Option<EncoderId> {
        let mut encoders = self.dataset.encoders();
        encoders.pop().filter(|_| encoders.is_empty())
    }

    fn rewind(&mut self) -> Result<()> {
        let seen = DatasetRows::new(self.dataset).nonfinite(self.nonfinite);
        *self = DatasetRows { zero: self.zero, ..seen };
        Ok(())
    }

    fn next(&mut self, most: usize, out: &mut [u8]) -> Result<usize> {
        while self.left == 0 {
            let Some(shard) = self.dataset.shards().get(self.shard) else { return Ok(0) };
            self.reader = Some(self.dataset.reader(self.shard)?);
            self.left = shard.rows();
            self.shard += 1;
        }
        let rows = (most as u64).min(self.left) as usize;
        if let Some(reader) = &mut self.reader {
            let kind = (self.dataset.width(), self.dataset.element_type());
            let out = &mut out[..rows * kind.0 * kind.1.bytes()];
            reader.read(rows, out)?;
            self.zero.look(out, self.next_row, kind, self.nonfinite);
        }
        self.left -= rows as u64;
        self.next_row += rows as u64;
        Ok(rows)
    }

    fn locate(&mut self, row: u64, out: &mut [u8]) -> Result<(PathBuf, u64)> {
        let mut row = row;
        for (i, shard) in self.dataset.shards().iter().enumerate() {
            if row < shard.rows() {
                self.dataset.reader(i)?.read_at(row, 1, out)?;
                return Ok((shard.path().to_path_buf(), row));
            }
            row -= shard.rows();
        }
        Err(Error::shape("read", "row", format!("below {}", self.dataset.rows()), row))
    }
}

/// Rows in memory.
#[derive(Debug)]
pub struct MemoryRows<'a> {
    name: PathBuf,
    bytes: &'a [u8],
    width: usize,
    element: ElementType,
    at: usize,
}

impl<'a> MemoryRows<'a> {
    /// Tight rows of `[n, width]`; `name` stands for the path in errors.
    ///
    /// # Errors
    /// No whole number of rows, a width of 0, or a type that files do not have.
    pub fn new(name: &str, bytes: &'a [u8], width: usize, element: ElementType) -> Result<Self> {
        let tight = width.checked_mul(element.bytes()).unwrap_or(0);
        if tight == 0 || !bytes.len().is_multiple_of(tight) || matches!(element, ElementType::Fixed | ElementType::Q8_0)
        {
            return Err(Error::shape(
                "rows",
                name,
                format!("whole rows of {width} {element}"),
                format!("{} bytes", bytes.len()),
            ));
        }
        Ok(MemoryRows { name: name.into(), bytes, width, element, at: 0 })
    }

    /// f32 rows.
    ///
    /// # Errors
    /// As [`MemoryRows::new`].
    pub fn f32(name: &str, rows: &'a [f32], width: usize) -> Result<Self> {
        Self::new(name, bytemuck::cast_slice(rows), width, ElementType::F32)
    }
}

impl RowSource for MemoryRows<'_> {
    fn rows(&self) -> u64 {
        (self.bytes.len() / tight_bytes(self)) as u64
    }

    fn width(&self) -> usize {
        self.width
    }

    fn element_type(&self) -> ElementType {
        self.element
    }

    fn rewind(&mut self) -> Result<()> {
        self.at = 0;
        Ok(())
    }

    fn next(&mut self, most: usize, out: &mut [u8]) -> Result<usize> {
        let tight = tight_bytes(self);
        let rows = most.min((self.bytes.len() - self.at) / tight);
        out[..rows * tight].copy_from_slice(&self.bytes[self.at..self.at + rows * tight]);
        self.at += rows * tight;
        Ok(rows)
    }

    fn locate(&mut self, row: u64, out: &mut [u8]) -> Result<(PathBuf, u64)> {
        let tight = tight_bytes(self);
        let start = row as usize * tight;
        let Some(bytes) = self.bytes.get(start..start + tight) else {
            return Err(Error::shape("read", "row", format!("below {}", self.rows()), row));
        };
        out[..tight].copy_from_slice(bytes);
        Ok((self.name.clone(), row))
    }
}
