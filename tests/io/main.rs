//! The file layer from outside: what is written comes back, what is broken is refused with words that help.

mod apply;
mod bad_files;
#[path = "../common/mod.rs"]
mod common;
mod fuzz;
mod gguf;
#[cfg(feature = "parquet")]
mod layouts;
mod outputs;
#[cfg(feature = "parquet")]
mod parquet;
mod privacy;
mod round_trip;
mod shards;
mod zero_rows;

use std::path::{Path, PathBuf};

use realign::Result;
use realign::io::{Dataset, OpenOptions, Output, OutputOptions};

/// A version 1.0 npy file.
pub fn npy(dictionary: &str, body: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((dictionary.len() as u16).to_le_bytes());
    file.extend(dictionary.as_bytes());
    file.extend(body);
    file
}

/// A well-formed npy file of little-endian numbers counting up from 0.
pub fn counting(descr: &str, rows: usize, width: usize) -> Vec<u8> {
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let numbers = 0..rows * width;
    let body: Vec<u8> = match descr {
        "<f2" => numbers.flat_map(|i| half::f16::from_f32(i as f32).to_le_bytes()).collect(),
        "<f4" => numbers.flat_map(|i| (i as f32).to_le_bytes()).collect(),
        _ => numbers.flat_map(|i| (i as f64).to_le_bytes()).collect(),
    };
    npy(&dictionary, &body)
}

/// A safetensors file with this table.
pub fn safetensors(table: &str, body: &[u8]) -> Vec<u8> {
    [&(table.len() as u64).to_le_bytes()[..], table.as_bytes(), body].concat()
}

/// Puts a file into a folder.
pub fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Opens with default options.
pub fn open(inputs: &[&Path]) -> Result<Dataset> {
    let inputs: Vec<PathBuf> = inputs.iter().map(|path| path.to_path_buf()).collect();
    Dataset::open(&inputs, &OpenOptions::default())
}

/// All rows of all shards, in blocks of seven rows.
pub fn rows(dataset: &Dataset) -> Result<Vec<u8>> {
    let row = dataset.width() * dataset.element_type().bytes();
    let mut all = Vec::new();
    for (i, shard) in dataset.shards().iter().enumerate() {
        let mut reader = dataset.reader(i)?;
        while reader.position() < shard.rows() {
            let n = (shard.rows() - reader.position()).min(7) as usize;
            let mut block = vec![0; n * row];
            reader.read(n, &mut block)?;
            all.extend(block);
        }
    }
    Ok(all)
}

/// Writes `bytes` (all rows of all shards, in the output's type) as the output for `dataset`.
pub fn write(dataset: &Dataset, out: &Path, options: &OutputOptions, bytes: &[u8]) -> Result<Vec<PathBuf>> {
    let mut output = Output::create(dataset, out, options)?;
    let row = dataset.width() * output.element_type().bytes();
    let mut left = bytes;
    for (i, shard) in dataset.shards().iter().enumerate() {
        let mut writer = output.writer(i)?;
        let (now, later) = left.split_at(shard.rows() as usize * row);
        for block in now.chunks(5 * row) {
            writer.write(block)?;
        }
        writer.finish()?;
        left = later;
    }
    output.commit()
}

/// The message of what must be an error, after checking that each of `words` is in it.
pub fn refused<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) {
    let message = result.unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

/// Every file below a folder, sorted.
pub fn tree(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        if path.is_dir() {
            names.extend(tree(&path));
        }
    }
    names.sort();
    names
}
