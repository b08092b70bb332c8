//! From files to files: a data set's rows through an operator, one output file for each input file.

use std::path::PathBuf;

use super::{Aligner, Applied, apply};
use crate::device::Device;
use crate::io::{Dataset, Output, Shard, ShardWriter};
use crate::stats::{DatasetRows, StreamOptions, ZeroRows};
use crate::{ElementType, Error, Result};

/// What [`apply_to_files`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlignedFiles {
    /// The files, in the order of the data set's shards.
    pub files: Vec<PathBuf>,
    /// The type of their numbers.
    pub element_type: ElementType,
    /// Rows written, and values read as 0.
    pub applied: Applied,
    /// Rows of zeros among those read.
    pub zero_rows: ZeroRows,
}

/// Streams a data set's rows `[n, d]` through the operator into `output`, which [`Output::create`] planned for the same data set:
/// one file for each shard, and all files get their names at the end, together, or none does. Memory stays flat.
///
/// ```no_run
/// use std::path::Path;
/// use realign::align::{Statistics, apply_to_files};
/// use realign::io::{Dataset, Output};
///
/// # fn main() -> realign::Result<()> {
/// let statistics = Statistics::load(Path::new("S.safetensors"))?;
/// let texts = Dataset::open(&["text/".into()], &Default::default())?;
/// let output = Output::create(&texts, Path::new("aligned/"), &Default::default())?;
/// let device = realign::Device::request_blocking(&Default::default())?;
/// let written = apply_to_files(&device, &*statistics.aligner(), &texts, output, Default::default())?;
/// println!("{} rows in {} files", written.applied.rows, written.files.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`apply()`], [`ShardWriter::write`] and [`Output::commit`]; an output of another data set. Nothing is left behind then.
pub fn apply_to_files(
    device: &Device,
    aligner: &dyn Aligner,
    dataset: &Dataset,
    mut output: Output,
    options: StreamOptions<'_>,
) -> Result<AlignedFiles> {
    let sizes: Vec<u64> = dataset.shards().iter().map(Shard::rows).collect();
    if output.paths().count() != sizes.len() {
        let (want, got) = (format!("{} files", sizes.len()), format!("{} files", output.paths().count()));
        return Err(Error::shape("apply", "the output", want, got));
    }
    let element_type = output.element_type();
    let mut writers =
        Writers { sizes, row_bytes: dataset.width() * element_type.bytes(), shard: 0, left: 0, writer: None };
    let mut sink = |bytes: &[u8], _| writers.write(&mut output, bytes);
    let mut rows = DatasetRows::new(dataset).nonfinite(options.nonfinite);
    let applied = apply(device, aligner, &mut rows, element_type, options, &mut sink)?;
    // Empty files at the end have had no rows to begin with.
    while writers.shard < writers.sizes.len() {
        writers.begin(&mut output)?;
    }
    writers.close()?;
    Ok(AlignedFiles { files: output.commit()?, element_type, applied, zero_rows: rows.zero_rows() })
}

/// Hands rows to the shards' writers, in order, however they are cut into blocks.
struct Writers {
    sizes: Vec<u64>,
    row_bytes: usize,
    /// Shards begun.
    shard: usize,
    /// Rows that the last one begun still waits for.
    left: u64,
    writer: Option<ShardWriter>,
}

impl Writers {
    fn write(&mut self, output: &mut Output, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            while self.left == 0 {
                self.begin(output)?;
            }
            let rows = (bytes.len() / self.row_bytes) as u64;
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).saturating_mul(self.row_bytes);
            let (own, rest) = bytes.split_at(bytes.len().min(most));
            if let Some(writer) = &mut self.writer {
                writer.write(own)?;
            }
            self.left -= rows.min(self.left);
            bytes = rest;
        }
        Ok(())
    }

    /// Begins the next shard.
    fn begin(&mut self, output: &mut Output) -> Result<()> {
        self.close()?;
        self.writer = Some(output.writer(self.shard)?);
        self.left = self.sizes.get(self.shard).copied().unwrap_or(0);
        self.shard += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.writer.take().map_or(Ok(()), ShardWriter::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{OpenOptions, write_npy};

    #[test]
    fn blocks_may_span_files() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<f32> = (0..14).map(|i| i as f32).collect();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        for (name, from, to) in [("a.npy", 0, 1), ("b.npy", 1, 4), ("c.npy", 4, 7)] {
            write_npy(&folder.path().join("in").join(name), &rows[2 * from..2 * to], 2, false).unwrap();
        }
        let dataset = Dataset::open(&[folder.path().join("in")], &OpenOptions::default()).unwrap();
        let bytes: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
        for block in 1..=7 {
            let out = folder.path().join(format!("out-{block}"));
            let mut output = Output::create(&dataset, &out, &Default::default()).unwrap();
            let sizes = dataset.shards().iter().map(Shard::rows).collect();
            let mut writers = Writers { sizes, row_bytes: 8, shard: 0, left: 0, writer: None };
            bytes.chunks(8 * block).for_each(|b| writers.write(&mut output, b).unwrap());
            writers.close().unwrap();
            for path in output.commit().unwrap() {
                let input = folder.path().join("in").join(path.file_name().unwrap());
                assert!(std::fs::read(&path).unwrap() == std::fs::read(input).unwrap(), "{block}: {}", path.display());
            }
        }
    }
}
