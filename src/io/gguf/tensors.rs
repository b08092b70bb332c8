//! The weights of a GGUF file under their Hugging Face names.

use std::collections::BTreeMap;
use std::path::Path;

use super::architecture::Architecture;
use super::dequantize::dequantize;
use super::header::{GgufFile, Stored};
use super::names::{Change, Place, place, stored_row};
use crate::io::TensorInfo;
use crate::io::tensor_file::{narrow, refuse_non_finite};
use crate::{ElementType, Error, Result};

/// Numbers are dequantised in parts of so many: all the memory that reading takes beside the result. A multiple of every block.
const PART: usize = 1 << 18;

/// The weights of a GGUF file, opened by its header; none is held.
#[derive(Debug)]
pub(in crate::io) struct GgufWeights {
    file: GgufFile,
    tensors: BTreeMap<String, Weight>,
}

#[derive(Debug)]
struct Weight {
    stored: Stored,
    change: Change,
    info: TensorInfo,
}

impl GgufWeights {
    /// Gives the tensors of a file their Hugging Face names.
    ///
    /// # Errors
    /// As [`GgufFile::open`]; an architecture without a counterpart, a mixture of experts, a tensor that no counterpart has, rows that the heads
    /// do not divide.
    pub fn open(path: &Path) -> Result<GgufWeights> {
        let file = GgufFile::open(path)?;
        let architecture = Architecture::of(&file)?;
        let heads =
            |key: &str| Ok(file.integer(&format!("{}.attention.{key}", architecture.name))?.unwrap_or(0) as usize);
        let queries: usize = heads("head_count")?;
        let keys = match heads("head_count_kv")? {
            0 => queries,
            keys => keys,
        };
        let mut tensors = BTreeMap::new();
        for (name, stored) in file.tensors() {
            let wrong = |problem: String| Err(Error::format(file.path(), format!("tensor {name:?} {problem}")));
            let (theirs, change) = match place(architecture, name, (queries, keys)) {
                Place::Weight(theirs, change) => (theirs, change),
                Place::Configuration => continue,
                Place::Expert => {
                    return wrong("belongs to a mixture of experts, which the decoder does not know".to_owned());
                }
                Place::Unknown => {
                    return wrong(format!("is not one that a model of the architecture {:?} has", architecture.name));
                }
            };
            if let Change::Pairs { heads } = change
                && (heads == 0 || stored.shape[0] == 0 || !stored.shape[0].is_multiple_of(2 * heads))
            {
                return wrong(format!("has {} rows, which {heads} heads do not divide into pairs", stored.shape[0]));
            }
            let info = TensorInfo::new(stored.shape.clone(), stored.kind.element(), stored.kind.name());
            tensors.insert(theirs, Weight { stored: stored.clone(), change, info });
        }
        Ok(GgufWeights { file, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The tensors' Hugging Face names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The type of all matrices, or f32 where they differ.
    pub fn element_type(&self) -> ElementType {
        let mut found = None;
        for weight in self.tensors.values().filter(|weight| weight.info.shape.len() > 1) {
            match (found, weight.stored.kind.element()) {
                (None, element) => found = Some(element),
                (Some(before), element) if before == element => {}
                _ => return ElementType::F32,
            }
        }
        found.unwrap_or(ElementType::F32)
    }

    /// Whether there is such a tensor.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn weight(&self, name: &str) -> Result<&Weight> {
        self.tensors.get(name).ok_or_else(|| {
            let problem = format!("the model has no tensor {name:?}, which its metadata calls for");
            Error::format(self.path(), format!("{problem}; is it complete?"))
        })
    }

    /// As [`crate::io::Weights::expect`].
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo> {
        let weight = self.weight(name)?;
        if weight.info.shape != shape {
            let problem = format!("tensor {name:?} has the shape {:?}, but {shape:?} is needed", weight.info.shape);
            return Err(Error::format(self.path(), format!("{problem}; does the metadata belong to another model?")));
        }
        Ok(&weight.info)
    }

    /// Fills `out` with the tensor's numbers from `first` on, dequantised, then converted to `element` (f32, f16 or bf16). Beside `out` it
    /// takes some 3 MiB.
    pub fn read(&self, name: &str, first: usize, element: ElementType, out: &mut [u8]) -> Result<()> {
        if !matches!(element, ElementType::F32 | ElementType::F16 | ElementType::BF16) {
            return Err(Error::argument("element", format!("tensors are read as f32, f16 or bf16, not as {element}")));
        }
        let weight = self.weight(name)?;
        let count = out.len() / element.bytes();
        if !out.len().is_multiple_of(element.bytes())
            || first.checked_add(count).is_none_or(|end| end > weight.info.len())
        {
            let got = format!("{} bytes of {element} from number {first} on", out.len());
            return Err(Error::shape("read tensor", name, format!("a part of {} numbers", weight.info.len()), got));
        }
        let mut numbers = vec![0f32; PART.min(count)];
        let mut scratch = Scratch::default();
        for (i, part) in out.chunks_mut(PART * element.bytes()).enumerate() {
            let numbers = &mut numbers[..part.len() / element.bytes()];
            let at = first + i * PART;
            self.fill(name, weight, at, numbers, &mut scratch)?;
            refuse_non_finite(self.path(), name, at, numbers, "in the file; the model is damaged")?;
            narrow(numbers, element, part);
            if element != ElementType::F32 {
                crate::io::tensor_file::widen(part, element, numbers);
                refuse_non_finite(self.path(), name, at, numbers, "when converted; load the model as bf16 or f32")?;
            }
        }
        Ok(())
    }

    /// The numbers from `at` on, as the model means them.
    fn fill(&self, name: &str, weight: &Weight, at: usize, out: &mut [f32], scratch: &mut Scratch) -> Result<()> {
        let Change::Pairs { heads } = weight.change else {
            self.stored(name, &weight.stored, at, out, scratch)?;
            if weight.change == Change::PlusOne {
                out.iter_mut().for_each(|x| *x -= 1.0);
            }
            return Ok(());
        };
        let rows = weight.stored.shape[0];
        let width: usize = weight.stored.shape[1..].iter().product();
        let mut done = 0;
        while done < out.len() {
            let (row, column) = ((at + done) / width, (at + done) % width);
            let count = (width - column).min(out.len() - done);
            let from = stored_row(row, rows, heads) * width + column;
            self.stored(name, &weight.stored, from, &mut out[done..done + count], scratch)?;
            done += count;
        }
        Ok(())
    }

    /// The numbers from `at` on, as they are stored: the blocks around them are read.
    fn stored(&self, name: &str, stored: &Stored, at: usize, out: &mut [f32], scratch: &mut Scratch) -> Result<()> {
        let (block, bytes) = (stored.kind.block(), stored.kind.block_bytes());
        let (start, end) = (at / block, (at + out.len()).div_ceil(block));
        scratch.raw.resize((end - start) * bytes, 0);
        self.file.read_raw(&mut scratch.raw, stored.offset + (start * bytes) as u64, name)?;
        if at == start * block && out.len() == (end - start) * block {
            dequantize(stored.kind, &scratch.raw, out);
            return Ok(());
        }
        scratch.numbers.resize((end - start) * block, 0.0);
        dequantize(stored.kind, &scratch.raw, &mut scratch.numbers);
        out.copy_from_slice(&scratch.numbers[at - start * block..][..out.len()]);
        Ok(())
    }
}

/// Memory that is used again.
#[derive(Default)]
struct Scratch {
    raw: Vec<u8>,
    numbers: Vec<f32>,
}
