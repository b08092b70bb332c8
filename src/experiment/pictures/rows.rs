//! Embeddings of all pictures and captions, and their files.

use std::path::{Path, PathBuf};

use super::collection::Collection;
use crate::experiment::files::write_embeddings;
use crate::host::to_unit;
use crate::train::EmbeddingFiles;
use crate::{Error, Result};

/// Rows of norm 1 of all pictures and all captions, in the collection's order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    pub width: usize,
    /// `[pictures, width]`.
    pub pictures: Vec<f32>,
    /// `[captions, width]`.
    pub captions: Vec<f32>,
    /// The folder of their files.
    pub folder: PathBuf,
}

/// The name of a caption in the files.
pub(super) fn caption_id(caption: usize) -> String {
    format!("caption-{caption:06}")
}

/// The file of rows of one kind, and that of their ids.
pub(super) fn files(folder: &Path, kind: Kind) -> (PathBuf, PathBuf) {
    let stem = match kind {
        Kind::Pictures => "pictures",
        Kind::Captions => "captions",
    };
    (folder.join(format!("{stem}.npy")), folder.join(format!("{stem}.txt")))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pictures,
    Captions,
}

/// Divides rows by their norms; `name` tells of what a row is.
pub(super) fn unit(mut rows: Vec<f32>, width: usize, name: impl Fn(usize) -> String) -> Result<Vec<f32>> {
    for (i, row) in rows.chunks_exact_mut(width.max(1)).enumerate() {
        let length = to_unit(row);
        if !(length.is_finite() && length > 0.0) {
            let problem = format!("the row of {} has the norm {length}; is the encoder damaged?", name(i));
            return Err(Error::degenerate(problem));
        }
    }
    Ok(rows)
}

/// Writes rows of one kind; the ids come last, so that they say that the rows are whole.
pub(super) fn write(folder: &Path, kind: Kind, rows: &[f32], collection: &Collection) -> Result<()> {
    crate::io::url::create_folders(folder)?;
    let ids = match kind {
        Kind::Pictures => collection.names().to_vec(),
        Kind::Captions => (0..collection.all_captions().len()).map(caption_id).collect(),
    };
    write_embeddings(&files(folder, kind).0.with_extension(""), rows, &ids, true)
}

/// All rows of a file and of its ids, and their width.
pub(super) fn read((rows, ids): (PathBuf, &Path)) -> Result<(Vec<f32>, usize)> {
    let inputs = [rows];
    let files = EmbeddingFiles { inputs: &inputs, ids: Some(ids), key: None, column: None, id_column: None };
    let mut opened = files.open()?.rows;
    let (count, width) = (opened.rows(), opened.width());
    let all: Vec<u32> = (0..count as u32).collect();
    let mut numbers = vec![0.0; all.len() * width];
    opened.read(&all, &mut numbers)?;
    Ok((numbers, width))
}

impl Rows {
    /// Rows of some pictures, `[n, width]`.
    pub fn of_pictures(&self, pictures: &[usize]) -> Vec<f32> {
        pick(&self.pictures, self.width, pictures.iter().copied())
    }

    /// Rows of some captions.
    pub fn of_captions(&self, captions: impl Iterator<Item = usize>) -> Vec<f32> {
        pick(&self.captions, self.width, captions)
    }
}

fn pick(rows: &[f32], width: usize, chosen: impl Iterator<Item = usize>) -> Vec<f32> {
    chosen.filter_map(|i| rows.get(i * width..(i + 1) * width)).flatten().copied().collect()
}
