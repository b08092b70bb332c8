//! Safetensors files as what they are, named tensors of any shape: models, adapters, checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytemuck::{cast_slice, cast_slice_mut};
use half::{bf16, f16};

use super::safetensors;
use super::source::Source;
use crate::{ElementType, Error, Result};

/// Numbers are converted in blocks of this many: all the memory that reading takes beside the result.
const BLOCK: usize = 1 << 18;
/// How many names an error lists.
const LISTED: usize = 10;

/// An open safetensors file. Tensors are read at their place, none is held.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: Source,
    tensors: BTreeMap<String, TensorInfo>,
    notes: BTreeMap<String, String>,
}

/// What a file says about one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Rows first: `[out, in]` for the weight of a linear layer.
    pub shape: Vec<usize>,
    /// The type of its numbers; `None` for integers and others, which cannot be read here.
    pub element: Option<ElementType>,
    /// The type's name in the file.
    dtype: String,
    /// Bytes from the start of the file.
    offset: u64,
}

impl TensorInfo {
    /// A tensor that is read as `element`; `dtype` is what its file calls the type.
    pub(super) fn new(shape: Vec<usize>, element: ElementType, dtype: &str) -> TensorInfo {
        TensorInfo { shape, element: Some(element), dtype: dtype.to_owned(), offset: 0 }
    }

    /// How many numbers it holds; 1 for a scalar.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether one of its sides is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl TensorFile {
    /// Reads and checks the table of tensors; no tensor is read.
    ///
    /// # Errors
    /// A file that cannot be read, is no safetensors file, or is shorter or longer than its table promises.
    pub fn open(path: &Path) -> Result<TensorFile> {
        let (file, len) = Source::open(path, "name a safetensors file")?;
        let (metadata, data_at) = safetensors::read_header(&file, len, path)?;
        let describe = |info: &::safetensors::tensor::TensorInfo| TensorInfo {
            shape: info.shape.clone(),
            element: safetensors::element_type(info.dtype),
            dtype: info.dtype.to_string(),
            offset: data_at + info.data_offsets.0 as u64,
        };
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, describe(info))).collect();
        let notes = metadata.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(TensorFile { path: path.to_path_buf(), file, tensors, notes })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The notes (`__metadata__`) that its writer left.
    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.notes
    }

    /// The tensor called `name`, which must have this `shape` and hold floats.
    ///
    /// # Errors
    /// No such tensor, another shape, or integers; the message names file, tensor, wanted and found.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&TensorInfo> {
        let info = self.tensors.get(name).ok_or_else(|| self.missing(name))?;
        if info.shape != shape {
            let problem = format!("tensor {name:?} has the shape {:?}, but {shape:?} is needed", info.shape);
            return Err(Error::format(&self.path, format!("{problem}; is it of another model?")));
        }
        self.element(name, info)?;
        Ok(info)
    }

    fn element(&self, name: &str, info: &TensorInfo) -> Result<ElementType> {
        info.element.ok_or_else(|| {
            let remedy = "F16, BF16, F32 and F64 can be read; quantised models must be converted first";
            Error::format(&self.path, format!("tensor {name:?} holds {}; {remedy}", info.dtype))
        })
    }

    fn missing(&self, name: &str) -> Error {
        let names: Vec<String> = self.tensors.keys().take(LISTED).map(|name| format!("{name:?}")).collect();
        let rest = self.tensors.len().saturating_sub(LISTED);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        Error::format(&self.path, format!("there is no tensor {name:?}; it holds {}{more}", names.join(", ")))
    }

    /// All of a tensor as f32, row after row.
    ///
    /// # Errors
    /// As [`TensorFile::expect`] and [`TensorFile::read`].
    pub fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut out = vec![0f32; self.expect(name, shape)?.len()];
        self.read(name, 0, ElementType::F32, cast_slice_mut(&mut out))?;
        Ok(out)
    }

    /// All of a tensor of `count` bytes (`U8`).
    ///
    /// # Errors
    /// No such tensor, another type or size, a file truncated meanwhile.
    #[cfg(feature = "train")]
    pub(crate) fn read_bytes(&self, name: &str, count: usize) -> Result<Vec<u8>> {
        let info = self.tensors.get(name).ok_or_else(|| self.missing(name))?;
        if (info.dtype.as_str(), info.shape.as_slice()) != ("U8", &[count][..]) {
            let problem =
                format!("tensor {name:?} holds {} {:?}, but {count} of U8 are needed", info.dtype, info.shape);
            return Err(Error::format(&self.path, problem));
        }
        let mut bytes = vec![0; count];
        self.file.read(&mut bytes, info.offset).map_err(|e| self.read_error(name, e))?;
        Ok(bytes)
    }

    /// Fills `out` with the numbers from the tensor's `first` on, converted to `element` (f32, f16 or bf16; to the
    /// nearest, ties to even). Takes 3 MiB of memory at most, whatever the tensor's size.
    ///
    /// # Errors
    /// No such tensor, integers, a range beyond its end, a file truncated meanwhile, a NaN or an infinity (in the file,
    /// or because the number exceeds what `element` holds), or another `element`.
    pub fn read(&self, name: &str, first: usize, element: ElementType, out: &mut [u8]) -> Result<()> {
        if !matches!(element, ElementType::F32 | ElementType::F16 | ElementType::BF16) {
            return Err(Error::argument("element", format!("tensors are read as f32, f16 or bf16, not as {element}")));
        }
        let info = self.tensors.get(name).ok_or_else(|| self.missing(name))?;
        let stored = self.element(name, info)?;
        let count = out.len() / element.bytes();
        if !out.len().is_multiple_of(element.bytes()) || first.checked_add(count).is_none_or(|end| end > info.len()) {
            let got = format!("{} bytes of {element} from number {first} on", out.len());
            return Err(Error::shape("read tensor", name, format!("a part of {} numbers", info.len()), got));
        }
        let mut raw = vec![0u8; BLOCK.min(count) * stored.bytes()];
        let mut wide = vec![0f32; BLOCK.min(count)];
        for (i, part) in out.chunks_mut(BLOCK * element.bytes()).enumerate() {
            let n = part.len() / element.bytes();
            let (raw, wide) = (&mut raw[..n * stored.bytes()], &mut wide[..n]);
            let at = first + i * BLOCK;
            let offset = info.offset + (at * stored.bytes()) as u64;
            self.file.read(raw, offset).map_err(|e| self.read_error(name, e))?;
            widen(raw, stored, wide);
            refuse_non_finite(&self.path, name, at, wide, "in the file; the model is damaged")?;
            if stored == element {
                part.copy_from_slice(raw);
            } else {
                narrow(wide, element, part);
                widen(part, element, wide);
                refuse_non_finite(&self.path, name, at, wide, "when converted; load the model as bf16 or f32")?;
            }
        }
        Ok(())
    }

    fn read_error(&self, name: &str, error: std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                let problem = format!("truncated while in use: it ended inside tensor {name:?}");
                Error::format(&self.path, format!("{problem}; run the command again"))
            }
            _ => Error::io("read", &self.path)(error),
        }
    }
}

/// Names the first NaN or infinity among the numbers of a tensor from `at` on.
pub(super) fn refuse_non_finite(path: &Path, name: &str, at: usize, numbers: &[f32], where_to: &str) -> Result<()> {
    match numbers.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(i) => {
            let what = format!("tensor {name:?} is {} at number {}", numbers[i], at + i);
            Err(Error::format(path, format!("{what} {where_to}")))
        }
    }
}

/// Little-endian numbers of any float type to f32. Sizes must agree.
pub(super) fn widen(raw: &[u8], stored: ElementType, out: &mut [f32]) {
    fn each<const N: usize>(raw: &[u8], out: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
        let (words, _) = raw.as_chunks::<N>();
        out.iter_mut().zip(words).for_each(|(x, word)| *x = convert(*word));
    }
    match stored {
        ElementType::F16 => each(raw, out, |b| f16::from_le_bytes(b).to_f32()),
        ElementType::BF16 => each(raw, out, |b| bf16::from_le_bytes(b).to_f32()),
        ElementType::F64 => each(raw, out, |b| f64::from_le_bytes(b) as f32),
        // Fixed is never in a file, see `ElementType`, nor are blocks in these.
        ElementType::F32 | ElementType::Fixed | ElementType::Q8_0 => each(raw, out, f32::from_le_bytes),
    }
}

/// The first of these numbers of f32, f16 or bf16, little-endian, that is not finite.
#[cfg(feature = "train")]
pub(super) fn not_finite(bytes: &[u8], element: ElementType) -> Option<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word));
    match element {
        ElementType::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).find(|x| !x.is_finite()),
        ElementType::BF16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).find(|x| !x.is_finite()),
        _ => bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).find(|x| !x.is_finite()),
    }
}

/// f32 to the little-endian bytes of f32, f16 or bf16, ties to even. Sizes must agree.
pub(super) fn narrow(numbers: &[f32], element: ElementType, out: &mut [u8]) {
    fn each<const N: usize>(numbers: &[f32], out: &mut [u8], convert: impl Fn(f32) -> [u8; N]) {
        let (words, _) = out.as_chunks_mut::<N>();
        words.iter_mut().zip(numbers).for_each(|(word, x)| *word = convert(*x));
    }
    match element {
        ElementType::F16 => each(numbers, out, |x| f16::from_f32(x).to_le_bytes()),
        ElementType::BF16 => each(numbers, out, |x| bf16::from_f32(x).to_le_bytes()),
        _ => out.copy_from_slice(cast_slice(numbers)),
    }
}
