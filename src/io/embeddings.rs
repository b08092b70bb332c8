//! Rows of embeddings in any order, as training asks for them.

use std::fs::File;
use std::path::PathBuf;

use super::{Dataset, EncoderId, RowReader, positional, tensor_file};
use crate::{ElementType, Error, Result};

/// Bytes that are moved at a time when a file is unpacked.
const BLOCK_BYTES: usize = 8 << 20;

/// Reads single rows of a dataset at their places. Nothing is held in memory but one row.
///
/// Parquet and arrow files cannot be read so; their rows are unpacked once into a nameless temporary file (in the system's temporary
/// folder, `TMPDIR`), which takes rows × width × element size on that disk and vanishes with this value.
#[derive(Debug)]
pub struct EmbeddingRows {
    shards: Vec<Source>,
    /// The first row after each shard.
    ends: Vec<u64>,
    width: usize,
    element: ElementType,
    raw: Vec<u8>,
    encoders: Vec<EncoderId>,
}

#[derive(Debug)]
enum Source {
    InPlace(Box<RowReader>, PathBuf),
    Unpacked(File, PathBuf),
}

impl EmbeddingRows {
    /// Opens all shards of a dataset.
    ///
    /// # Errors
    /// A file that has changed since the dataset was opened, is damaged, or finds no room to be unpacked.
    pub fn open(dataset: &Dataset) -> Result<EmbeddingRows> {
        let (width, element) = (dataset.width(), dataset.element_type());
        let (shards, ends, raw, encoders) = (Vec::new(), Vec::new(), Vec::new(), dataset.encoders());
        let mut rows = EmbeddingRows { shards, ends, width, element, raw, encoders };
        let mut end = 0;
        for (i, shard) in dataset.shards().iter().enumerate() {
            let mut reader = dataset.reader(i)?;
            let path = shard.path().to_path_buf();
            // A row at a time would be a request at a time.
            rows.shards.push(match shard.format().is_raw() && !super::is_url(&path) {
                false => Source::Unpacked(unpack(&mut reader, shard.rows(), width, element)?, path),
                true => Source::InPlace(Box::new(reader), path),
            });
            end += shard.rows();
            rows.ends.push(end);
        }
        rows.raw = vec![0; width * element.bytes()];
        Ok(rows)
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The encoders that made them, as far as the files say it.
    pub fn encoders(&self) -> &[EncoderId] {
        &self.encoders
    }

    /// Rows of all shards together.
    pub fn rows(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Fills `out` (`[rows.len(), width]`) with these rows as f32, in this order.
    ///
    /// # Errors
    /// An `out` of another size, a row beyond the end, a NaN or infinity (also an f64 beyond f32's range), a file
    /// truncated meanwhile.
    pub fn read(&mut self, rows: &[u32], out: &mut [f32]) -> Result<()> {
        if rows.len().checked_mul(self.width) != Some(out.len()) {
            let expected = format!("{} rows of {}", rows.len(), self.width);
            return Err(Error::shape("read embeddings", "the block", expected, format!("{} numbers", out.len())));
        }
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(self.width)) {
            let row = u64::from(*row);
            let shard = self.ends.partition_point(|end| *end <= row);
            let count = self.rows();
            let Some(source) = self.shards.get_mut(shard) else {
                return Err(Error::shape(
                    "read embeddings",
                    format!("row {row}"),
                    format!("below {count}"),
                    "beyond the end",
                ));
            };
            let local = row - if shard == 0 { 0 } else { self.ends[shard - 1] };
            let path = match source {
                Source::InPlace(reader, path) => {
                    reader.read_at(local, 1, &mut self.raw)?;
                    path
                }
                Source::Unpacked(file, path) => {
                    let at = local * self.raw.len() as u64;
                    positional::read(file, &mut self.raw, at)
                        .map_err(Error::io("read the unpacked rows of", &*path))?;
                    path
                }
            };
            tensor_file::widen(&self.raw, self.element, out);
            if let Some(column) = out.iter().position(|x| !x.is_finite()) {
                return Err(Error::NonFinite { path: path.clone(), row: local, column, value: f64::from(out[column]) });
            }
        }
        Ok(())
    }
}

fn unpack(reader: &mut RowReader, rows: u64, width: usize, element: ElementType) -> Result<File> {
    let spot = std::env::temp_dir();
    let file = tempfile::tempfile().map_err(Error::io("create a temporary file in", &spot))?;
    let row_bytes = width * element.bytes();
    let step = (BLOCK_BYTES / row_bytes).max(1) as u64;
    let mut block = vec![0; step.min(rows) as usize * row_bytes];
    while reader.position() < rows {
        let start = reader.position();
        let n = (rows - start).min(step) as usize;
        let part = &mut block[..n * row_bytes];
        reader.read(n, part)?;
        positional::write(&file, part, start * row_bytes as u64).map_err(Error::io("unpack embeddings into", &spot))?;
    }
    Ok(file)
}
