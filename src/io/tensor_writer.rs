//! Writing a safetensors file tensor by tensor, without ever holding it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::safetensors::{self, Planned};
use super::{positional, tensor_file};
use crate::{ElementType, Error, Result};

/// f32 numbers are converted in blocks of this many.
const BLOCK: usize = 1 << 18;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name in the file.
    pub name: String,
    /// Rows first: `[out, in]` for the weight of a linear layer.
    pub shape: Vec<usize>,
    /// f16, bf16, f32 or f64.
    pub element: ElementType,
}

impl TensorSpec {
    /// A tensor of this name, shape and type.
    pub fn new(name: impl Into<String>, shape: &[usize], element: ElementType) -> TensorSpec {
        TensorSpec { name: name.into(), shape: shape.to_vec(), element }
    }

    /// Its size in the file; `None` if no file can be so large.
    pub fn bytes(&self) -> Option<u64> {
        let numbers = self.shape.iter().try_fold(1u64, |n, side| n.checked_mul(*side as u64))?;
        numbers.checked_mul(self.element.bytes() as u64).filter(|bytes| *bytes <= i64::MAX as u64 / 4)
    }
}

/// Fills a safetensors file whose tensors are known beforehand. The tensors may come in any order and each in pieces.
#[derive(Debug)]
pub(crate) struct TensorWriter {
    path: PathBuf,
    file: File,
    /// Bytes and sum of what comes before the tensors.
    #[cfg(feature = "train")]
    header: (u64, crc32fast::Hasher),
    open: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    next: u64,
    end: u64,
    /// Of the bytes so far.
    #[cfg(feature = "train")]
    sum: crc32fast::Hasher,
    /// Of its numbers; `None` for bytes.
    element: Option<ElementType>,
}

impl Place {
    fn stride(&self) -> usize {
        self.element.map_or(1, ElementType::bytes)
    }

    /// Writes the next bytes.
    fn put(&mut self, file: &File, bytes: &[u8]) -> std::io::Result<()> {
        positional::write(file, bytes, self.next)?;
        #[cfg(feature = "train")]
        self.sum.update(bytes);
        self.next += bytes.len() as u64;
        Ok(())
    }

    /// Checks that so many numbers, or bytes, have room.
    fn check(&self, name: &str, count: usize) -> Result<()> {
        if self.next + (count * self.stride()) as u64 > self.end {
            let left = (self.end - self.next) / self.stride() as u64;
            return Err(Error::shape("write tensor", name, format!("{left} more numbers"), count));
        }
        Ok(())
    }
}

fn unplanned(name: &str) -> Error {
    Error::argument("tensor", format!("{name:?} is not among those that were to be written"))
}

impl TensorWriter {
    /// Writes the table into an empty `file`; `path` is the name for errors.
    pub fn start(
        file: File,
        path: &Path,
        specs: &[TensorSpec],
        notes: BTreeMap<String, String>,
    ) -> Result<TensorWriter> {
        TensorWriter::start_with_bytes(file, path, (specs, &[]), notes)
    }

    /// As [`TensorWriter::start`], with tensors of bytes (`U8`): a name, and how many.
    pub fn start_with_bytes(
        file: File,
        path: &Path,
        (specs, bytes): (&[TensorSpec], &[(String, usize)]),
        notes: BTreeMap<String, String>,
    ) -> Result<TensorWriter> {
        let mut plan = specs.iter().map(|spec| planned(spec, path)).collect::<Result<Vec<Planned>>>()?;
        plan.extend(bytes.iter().map(|(name, count)| Planned {
            name: name.clone(),
            dtype: ::safetensors::Dtype::U8,
            shape: vec![*count],
            bytes: *count as u64,
            source: None,
        }));
        // The library's own order: largest alignment first, so that every tensor is aligned; then by name.
        plan.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
        let header = safetensors::header(&plan, Some(notes), path)?;
        let elements: BTreeMap<&str, ElementType> = specs.iter().map(|s| (s.name.as_str(), s.element)).collect();
        let mut at = header.len() as u64;
        let mut open = BTreeMap::new();
        for tensor in plan {
            let element = elements.get(tensor.name.as_str()).copied();
            let place = Place {
                next: at,
                end: at + tensor.bytes,
                #[cfg(feature = "train")]
                sum: crc32fast::Hasher::new(),
                element,
            };
            at = place.end;
            if let Some(twice) = open.insert(tensor.name.clone(), place) {
                let problem = format!("tensor {:?} ({} bytes) is to be written twice", tensor.name, twice.end);
                return Err(Error::format(path, problem));
            }
        }
        positional::reserve(&file, at).map_err(Error::io("write", path))?;
        positional::write(&file, &header, 0).map_err(Error::io("write", path))?;
        Ok(TensorWriter {
            path: path.to_path_buf(),
            file,
            #[cfg(feature = "train")]
            header: (header.len() as u64, summed(&header)),
            open,
        })
    }

    /// Appends numbers to a tensor, converted to its type.
    pub fn write(&mut self, name: &str, numbers: &[f32]) -> Result<()> {
        let place = self.open.get_mut(name).ok_or_else(|| unplanned(name))?;
        let Some(element) = place.element else {
            return Err(Error::argument("tensor", format!("{name:?} is one of bytes")));
        };
        place.check(name, numbers.len())?;
        if let Some(x) = numbers.iter().find(|x| !fits(**x, element)) {
            let problem = format!("tensor {name:?} holds {x}, which {element} cannot; nothing was written");
            return Err(Error::format(&self.path, problem));
        }
        let mut raw = vec![0; numbers.len().min(BLOCK) * element.bytes()];
        for block in numbers.chunks(BLOCK) {
            let raw = &mut raw[..block.len() * element.bytes()];
            match element {
                ElementType::F64 => raw
                    .as_chunks_mut::<8>()
                    .0
                    .iter_mut()
                    .zip(block)
                    .for_each(|(word, x)| *word = f64::from(*x).to_le_bytes()),
                element => tensor_file::narrow(block, element, raw),
            }
            place.put(&self.file, raw).map_err(Error::io("write", &self.path))?;
        }
        Ok(())
    }

    /// Appends bytes to a tensor of bytes.
    #[cfg(feature = "train")]
    pub fn write_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let place = self.open.get_mut(name).ok_or_else(|| unplanned(name))?;
        if place.element.is_some() {
            return Err(Error::argument("tensor", format!("{name:?} is one of numbers")));
        }
        place.check(name, bytes.len())?;
        place.put(&self.file, bytes).map_err(Error::io("write", &self.path))
    }

    /// Appends numbers to a tensor, as bytes of its own type: f32, f16 or bf16.
    #[cfg(feature = "train")]
    pub fn write_stored(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let place = self.open.get_mut(name).ok_or_else(|| unplanned(name))?;
        let Some(element) = place.element else {
            return Err(Error::argument("tensor", format!("{name:?} is one of bytes")));
        };
        if !bytes.len().is_multiple_of(element.bytes()) {
            return Err(Error::shape("write tensor", name, "whole numbers", format!("{} bytes", bytes.len())));
        }
        place.check(name, bytes.len() / element.bytes())?;
        if let Some(x) = tensor_file::not_finite(bytes, element) {
            let problem = format!("tensor {name:?} holds {x}, which {element} cannot; nothing was written");
            return Err(Error::format(&self.path, problem));
        }
        place.put(&self.file, bytes).map_err(Error::io("write", &self.path))
    }

    /// As [`Self::finish`]; gives the file's length and its CRC-32.
    #[cfg(feature = "train")]
    pub fn finish_summed(self) -> Result<(u64, u32)> {
        let mut places: Vec<(u64, crc32fast::Hasher)> = self.open.values().map(|p| (p.end, p.sum.clone())).collect();
        places.sort_unstable_by_key(|(end, _)| *end);
        let (mut bytes, mut sum) = (self.header.0, self.header.1.clone());
        for (end, part) in places {
            bytes = end;
            sum.combine(&part);
        }
        self.finish().map(|()| (bytes, sum.finalize()))
    }

    /// Checks that every tensor is complete and hands the bytes to the disk.
    pub fn finish(self) -> Result<()> {
        if let Some((name, place)) = self.open.iter().find(|(_, place)| place.next < place.end) {
            let left = (place.end - place.next) / place.stride() as u64;
            return Err(Error::shape("write tensor", name, "all its numbers", format!("{left} too few")));
        }
        self.file.sync_all().map_err(Error::io("write", &self.path))
    }
}

/// The sum of some bytes, to which others may be added.
#[cfg(feature = "train")]
fn summed(bytes: &[u8]) -> crc32fast::Hasher {
    let mut sum = crc32fast::Hasher::new();
    sum.update(bytes);
    sum
}

/// Whether a number stays finite in `element`.
fn fits(x: f32, element: ElementType) -> bool {
    match element {
        ElementType::F16 => half::f16::from_f32(x).is_finite(),
        ElementType::BF16 => half::bf16::from_f32(x).is_finite(),
        _ => x.is_finite(),
    }
}

fn planned(spec: &TensorSpec, path: &Path) -> Result<Planned> {
    let bytes = spec.bytes().ok_or_else(|| {
        Error::format(path, format!("tensor {:?} of shape {:?} is too large for a file", spec.name, spec.shape))
    })?;
    let dtype = safetensors::dtype(spec.element)?;
    Ok(Planned { name: spec.name.clone(), dtype, shape: spec.shape.clone(), bytes, source: None })
}

/// What Python's loaders ask for: the framework that the tensors are laid out for.
pub(crate) fn notes(extra: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all = [("format", "pt")].into_iter().chain(extra.iter().copied());
    all.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}
