//! A file of rows with their names, made from rows that lie one after the other in a plain file.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use super::{EncoderId, FileFormat, atomic, npy, parquet, positional, safetensors};
use crate::{ElementType, Error, Result};

/// Bytes that are moved at a time.
const BLOCK: usize = 8 << 20;

/// Rows in a plain file: little-endian numbers without gaps, from the file's start.
pub(crate) struct PlainRows<'a> {
    pub file: &'a File,
    /// What it is called, for errors.
    pub path: &'a Path,
    pub rows: u64,
    pub width: usize,
    pub element: ElementType,
    /// The names of rows, for formats that hold them.
    pub id: &'a dyn Fn(u64) -> Cow<'a, str>,
    /// Who made them, for formats that hold notes.
    pub encoder: Option<&'a EncoderId>,
}

/// Fails where [`write_rows`] would, before there are rows: a format that is not written or cannot hold the numbers.
pub(crate) fn check_format(path: &Path, format: FileFormat, element: ElementType) -> Result<()> {
    format.check_holds(element)?;
    if format == FileFormat::Parquet { parquet::check_available(path) } else { Ok(()) }
}

/// Writes `path` in a format, whole or not at all. Parquet has the columns `id` (text) and `embedding` (list); safetensors the tensor
/// `embeddings`. Both have notes that say which encoder made the rows; npy has no room for any.
pub(crate) fn write_rows(path: &Path, format: FileFormat, force: bool, rows: &PlainRows<'_>) -> Result<()> {
    check_format(path, format, rows.element)?;
    atomic::check_target(path, force)?;
    let (file, temporary) = atomic::create_beside(path)?;
    let kind = (rows.rows, rows.width, rows.element);
    let notes = rows.encoder.map(|encoder| encoder.notes("")).unwrap_or_default();
    match format {
        FileFormat::Npy => {
            let header = npy::header(kind.0, kind.1, kind.2)?;
            let bytes = header.len() as u64 + rows.rows * rows.row_bytes() as u64;
            positional::reserve(&file, bytes).map_err(Error::io("write", path))?;
            positional::write(&file, &header, 0).map_err(Error::io("write", path))?;
            rows.copy(&file, path, header.len() as u64)?;
        }
        FileFormat::Safetensors => {
            let at = safetensors::start(&file, path, kind, safetensors::Beside::Notes(&notes))?;
            rows.copy(&file, path, at)?;
        }
        // `check_format` refused to write arrow files.
        FileFormat::Parquet | FileFormat::Arrow => {
            let mut writer = parquet::NamedWriter::create(file, path, (rows.width, rows.element), &notes)?;
            rows.blocks(|first, block| {
                let count = (block.len() / rows.row_bytes()) as u64;
                writer.write(&mut (first..first + count).map(rows.id), block)
            })?;
            writer.finish()?;
        }
    }
    atomic::publish(temporary, path, force)
}

/// Writes at a place of a plain file.
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    positional::write(file, bytes, at)
}

impl PlainRows<'_> {
    fn row_bytes(&self) -> usize {
        self.width * self.element.bytes()
    }

    fn copy(&self, to: &File, path: &Path, at: u64) -> Result<()> {
        let row = self.row_bytes() as u64;
        self.blocks(|first, block| positional::write(to, block, at + first * row).map_err(Error::io("write", path)))
    }

    /// All rows in blocks, each with the number of its first row.
    fn blocks(&self, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let each = (BLOCK / self.row_bytes().max(1)).max(1) as u64;
        let mut block = Vec::new();
        for first in (0..self.rows).step_by(each as usize) {
            let count = each.min(self.rows - first);
            block.resize(count as usize * self.row_bytes(), 0);
            let at = first * self.row_bytes() as u64;
            positional::read(self.file, &mut block, at).map_err(Error::io("read", self.path))?;
            take(first, &block)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Dataset, Ids, OpenOptions};
    use std::io::Write;

    #[test]
    fn every_format_holds_the_rows_and_parquet_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let numbers: Vec<f32> = (0..7 * 5).map(|i| i as f32 / 4.0).collect();
        let halves: Vec<u8> = numbers.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        for (element, bytes) in [(ElementType::F32, bytemuck::cast_slice(&numbers)), (ElementType::F16, &halves[..])] {
            let plain = folder.path().join("plain");
            std::fs::File::create(&plain).unwrap().write_all(bytes).unwrap();
            let file = File::open(&plain).unwrap();
            let id = |row: u64| Cow::Owned(format!("p/{row}.png"));
            let encoder = EncoderId { name: "clip".to_owned(), hash: "00ff".to_owned() };
            let rows =
                PlainRows { file: &file, path: &plain, rows: 7, width: 5, element, id: &id, encoder: Some(&encoder) };
            for format in FileFormat::WRITTEN {
                let path = folder.path().join(format!("{element}.{format}"));
                write_rows(&path, format, false, &rows).unwrap();
                assert!(matches!(write_rows(&path, format, false, &rows), Err(Error::OutputExists(_))));
                let set = Dataset::open(&[path], &OpenOptions::default()).unwrap();
                assert_eq!((set.rows(), set.width(), set.element_type()), (7, 5, element));
                let known = if format == FileFormat::Npy { vec![] } else { vec![encoder.clone()] };
                assert_eq!(set.encoders(), known, "{format}");
                let mut read = vec![0; bytes.len()];
                set.reader(0).unwrap().read(7, &mut read).unwrap();
                assert_eq!(read, bytes, "{format} {element}");
                if format == FileFormat::Parquet {
                    let ids = Ids::of_dataset(&set, None, None).unwrap();
                    assert_eq!((ids.len(), ids.get(6)), (7, "p/6.png"));
                }
            }
        }
        assert!(check_format(Path::new("a.arrow"), FileFormat::Arrow, ElementType::F32).is_err());
    }
}
