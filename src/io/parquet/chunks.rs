//! Parquet files as the library reads them: at any place, from a disk or a bucket.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufReader, Read};

#[cfg(feature = "cloud")]
use ::parquet::errors::ParquetError;
use ::parquet::errors::Result;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;

use crate::io::source::Source;
#[cfg(feature = "cloud")]
use crate::io::source::SourceBytes;

/// What a page's header is read through.
#[cfg(feature = "cloud")]
const BUFFER: usize = 8 << 10;

/// The bytes of a file from a place on.
#[derive(Debug)]
pub(crate) enum Chunk {
    Local(BufReader<File>),
    #[cfg(feature = "cloud")]
    Object(BufReader<SourceBytes>),
}

thread_local! {
    /// What reading an object met with: the library makes words of it on the way, which would be those of a damaged file.
    static FAILED: Cell<Option<std::io::Error>> = const { Cell::new(None) };
}

/// What reading met with on this thread since it was last asked, where it was no damage of the file.
pub(super) fn failed() -> Option<std::io::Error> {
    FAILED.take()
}

#[cfg(feature = "cloud")]
fn keep(error: std::io::Error) -> std::io::Error {
    let words = std::io::Error::new(error.kind(), error.to_string());
    FAILED.set(Some(error));
    words
}

impl Read for Chunk {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Chunk::Local(file) => file.read(out),
            #[cfg(feature = "cloud")]
            Chunk::Object(source) => source.read(out).map_err(keep),
        }
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        // A file whose length cannot be asked for has none: reading it is an error then.
        Source::len(self).unwrap_or(0)
    }
}

impl ChunkReader for Source {
    type T = Chunk;

    fn get_read(&self, start: u64) -> Result<Chunk> {
        match self {
            Source::Local(file) => file.get_read(start).map(Chunk::Local),
            #[cfg(feature = "cloud")]
            Source::Object(_) => Ok(Chunk::Object(BufReader::with_capacity(BUFFER, self.bytes_from(start)?))),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            Source::Local(file) => file.get_bytes(start, length),
            #[cfg(feature = "cloud")]
            Source::Object(_) => {
                let mut bytes = vec![0; length];
                self.read(&mut bytes, start).map_err(|e| ParquetError::External(Box::new(keep(e))))?;
                Ok(bytes.into())
            }
        }
    }
}

/// Says which bytes a reader of one column from row `start` on will ask for. Places that the footer says wrongly are left to the reader.
pub(super) fn plan(file: &Source, metadata: &ParquetMetaData, column: usize, start: u64) {
    let mut first = 0u64;
    let mut ranges = Vec::new();
    for group in metadata.row_groups() {
        let rows = group.num_rows().unsigned_abs();
        first = first.saturating_add(rows);
        if first <= start {
            continue;
        }
        let schema = metadata.file_metadata().schema_descr();
        let of_column = |leaf: &usize| schema.get_column_root_idx(*leaf) == column;
        for leaf in (0..group.num_columns().min(schema.num_columns())).filter(of_column) {
            let (at, bytes) = group.column(leaf).byte_range();
            ranges.push(at..at.saturating_add(bytes));
        }
    }
    file.plan(ranges);
}
