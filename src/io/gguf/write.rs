//! Writing a GGUF file, version 3: metadata, the table of tensors, then their numbers in any order.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use half::f16;

use super::kind::Kind;
use super::value::ValueKind;
use crate::blocks;
use crate::io::positional;
use crate::io::tensor_file::narrow;
use crate::{Error, Result};

const ALIGNMENT: u64 = 32;

/// The metadata of a file in the making, in the order in which it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    count: u64,
    bytes: Vec<u8>,
}

impl Entries {
    fn key(&mut self, key: &str, kind: ValueKind) {
        self.count += 1;
        self.raw_text(key);
        self.bytes.extend(kind.number().to_le_bytes());
    }

    fn raw_text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn array(&mut self, key: &str, kind: ValueKind, count: usize) {
        self.key(key, ValueKind::Array);
        self.bytes.extend(kind.number().to_le_bytes());
        self.bytes.extend((count as u64).to_le_bytes());
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key, ValueKind::Text);
        self.raw_text(value);
    }

    pub fn u32(&mut self, key: &str, value: u32) {
        self.key(key, ValueKind::U32);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn f32(&mut self, key: &str, value: f32) {
        self.key(key, ValueKind::F32);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(key, ValueKind::Bool);
        self.bytes.push(u8::from(value));
    }

    pub fn texts(&mut self, key: &str, values: &[String]) {
        self.array(key, ValueKind::Text, values.len());
        values.iter().for_each(|value| self.raw_text(value));
    }

    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        self.array(key, ValueKind::I32, values.len());
        values.iter().for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }

    pub fn f32s(&mut self, key: &str, values: &[f32]) {
        self.array(key, ValueKind::F32, values.len());
        values.iter().for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }
}

/// A tensor to be written.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub name: String,
    /// Rows first.
    pub shape: Vec<usize>,
    pub kind: Kind,
}

impl Planned {
    fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Its bytes; `None` if no file can be so large.
    fn bytes(&self) -> Option<u64> {
        let numbers =
            self.shape.iter().try_fold(1u64, |n, side| n.checked_mul(*side as u64).filter(|n| *n < 1 << 48))?;
        Some(numbers / self.kind.block() as u64 * self.kind.block_bytes() as u64)
    }
}

/// A file in the making.
#[derive(Debug)]
pub(super) struct GgufWriter {
    path: PathBuf,
    file: File,
    /// Where each tensor is from the file's start on.
    places: BTreeMap<String, (Planned, u64)>,
}

impl GgufWriter {
    /// Writes the header into an empty `file`; `path` is the name for errors.
    ///
    /// # Errors
    /// A row that is not whole blocks, a tensor that is too large, a full disk.
    pub fn start(file: File, path: &Path, entries: &Entries, plan: Vec<Planned>) -> Result<GgufWriter> {
        let mut header = b"GGUF".to_vec();
        header.extend(3u32.to_le_bytes());
        header.extend((plan.len() as u64).to_le_bytes());
        header.extend(entries.count.to_le_bytes());
        header.extend(&entries.bytes);
        let mut offsets = Vec::new();
        let mut end = 0u64;
        for tensor in &plan {
            let bytes = tensor.bytes().filter(|_| tensor.width().is_multiple_of(tensor.kind.block()));
            let problem =
                || format!("tensor {:?} of shape {:?} cannot be {}", tensor.name, tensor.shape, tensor.kind.name());
            let bytes = bytes.ok_or_else(|| Error::format(path, problem()))?;
            header.extend((tensor.name.len() as u64).to_le_bytes());
            header.extend(tensor.name.as_bytes());
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().rev().for_each(|side| header.extend((*side as u64).to_le_bytes()));
            header.extend(tensor.kind.number().to_le_bytes());
            header.extend(end.to_le_bytes());
            offsets.push(end);
            end = (end + bytes).next_multiple_of(ALIGNMENT);
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
        let start = header.len() as u64;
        positional::reserve(&file, start + end).map_err(Error::io("write", path))?;
        positional::write(&file, &header, 0).map_err(Error::io("write", path))?;
        let places =
            plan.into_iter().zip(offsets).map(|(tensor, at)| (tensor.name.clone(), (tensor, start + at))).collect();
        Ok(GgufWriter { path: path.to_path_buf(), file, places })
    }

    /// Writes whole blocks of a tensor from its number `first` on.
    ///
    /// # Errors
    /// No such tensor, a range beyond its end or not of whole blocks, a number that its type cannot hold, a full disk.
    pub fn write(&self, name: &str, first: usize, numbers: &[f32]) -> Result<()> {
        let (tensor, start) =
            self.places.get(name).ok_or_else(|| Error::argument("tensor", format!("{name:?} is not planned")))?;
        let (kind, block) = (tensor.kind, tensor.kind.block());
        let whole = first.is_multiple_of(block) && numbers.len().is_multiple_of(block);
        if !whole || first + numbers.len() > tensor.shape.iter().product() {
            let got = format!("{} numbers from {first} on", numbers.len());
            return Err(Error::shape("write tensor", name, format!("blocks of {block} of {:?}", tensor.shape), got));
        }
        let mut raw = vec![0; numbers.len() / block * kind.block_bytes()];
        match kind {
            Kind::Q8_0 => numbers.chunks_exact(32).zip(raw.chunks_exact_mut(34)).for_each(|(x, out)| q8_0(x, out)),
            _ => narrow(numbers, kind.element(), &mut raw),
        }
        let held = |x: &f32| match kind {
            Kind::F16 => f16::from_f32(*x).is_finite(),
            // A scale is the largest number over 127, in f16.
            Kind::Q8_0 => blocks::holds(*x),
            Kind::BF16 => half::bf16::from_f32(*x).is_finite(),
            _ => x.is_finite(),
        };
        if let Some(x) = numbers.iter().find(|x| !held(x)) {
            let problem = format!("tensor {name:?} holds {x}, which {} cannot; nothing was written", kind.name());
            return Err(Error::format(&self.path, format!("{problem}: choose bf16 or f32")));
        }
        let at = start + (first / block * kind.block_bytes()) as u64;
        positional::write(&self.file, &raw, at).map_err(Error::io("write", &self.path))
    }

    /// Hands the bytes to the disk.
    pub fn finish(self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("write", &self.path))
    }
}

/// A block of Q8_0: the f16 scale, then the numbers.
fn q8_0(numbers: &[f32], out: &mut [u8]) {
    let (scale, bytes) = out.split_at_mut(2);
    let d = blocks::quantize(numbers, |i, q| bytes[i] = q as u8);
    scale.copy_from_slice(&d.to_le_bytes());
}

/// The type for matrices in `element`, or in Q8_0 where there is none; rows that are no whole blocks are stored in F16, as llama.cpp's
/// converter does.
pub(super) fn kind_for(shape: &[usize], wanted: Kind) -> Kind {
    let width = shape.last().copied().unwrap_or(0);
    match wanted {
        // Norms and biases keep their precision.
        _ if shape.len() < 2 => Kind::F32,
        Kind::Q8_0 if !width.is_multiple_of(32) => Kind::F16,
        wanted => wanted,
    }
}

/// The file's own number for what most of its matrices are.
pub(super) fn file_type(kind: Kind) -> u32 {
    match kind {
        Kind::F16 => 1,
        Kind::Q8_0 => 7,
        Kind::BF16 => 32,
        _ => 0,
    }
}
