//! Hugging Face safetensors: a JSON table of named tensors, then their bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, Value, json};

use super::dataset::{Found, Layout, Shard};
use super::source::Source;
use super::{EncoderId, positional};
use crate::error::{Problem, Remedy};
use crate::{ElementType, Error, Result};

/// The limit of the safetensors library itself.
const MAX_HEADER: u64 = 100_000_000;
/// The tensor's name where the input had none.
pub(super) const DEFAULT_KEY: &str = "embeddings";
/// Other tensors are copied through a block of this size.
const COPY_BLOCK: usize = 8 << 20;
/// How many names an error lists.
const LISTED: usize = 20;

/// Reads and checks the header of an open file of `len` bytes, and finds the tensor of rows.
pub(super) fn inspect(file: &Source, len: u64, path: &Path, key: Option<&str>) -> Result<Found> {
    let (metadata, data_at) = read_header(file, len, path)?;
    let tensors: BTreeMap<String, &TensorInfo> = metadata.tensors().into_iter().collect();
    let (key, info) = choose(&tensors, key).map_err(|problem| Error::format(path, problem))?;
    let (Some(element), &([rows, width] | [rows, 1, width])) = (element_type(info.dtype), info.shape.as_slice()) else {
        let what = describe(key, info);
        let wanted = "rows of embeddings are a 2-D tensor of F16, BF16, F32 or F64";
        let problem = Problem::new(format!("tensor {what} does not hold rows: {wanted}"));
        return Err(Error::format(path, problem.remedy(Remedy::ChooseTensor { names: Vec::new() })));
    };
    let offset = data_at + info.data_offsets.0 as u64;
    let layout = Layout::Raw { offset, key: Some(key.to_string()) };
    let note = |name: &str| metadata.metadata().as_ref()?.get(name).map(String::as_str);
    Ok(Found::new(path, rows as u64, width as u64, element, layout)?.by(EncoderId::of_notes("", note)))
}

/// The table and where the tensors start. Checks that offsets, shapes and the file's length agree.
pub(super) fn read_header(file: &Source, len: u64, path: &Path) -> Result<(Metadata, u64)> {
    let mut size = [0; 8];
    if len < 8 {
        return Err(Error::format(path, format!("not a safetensors file: only {len} bytes long")));
    }
    file.read(&mut size, 0).map_err(Error::io("read", path))?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER || size > len - 8 {
        let problem = format!("its header claims {size} bytes, but the file has {len} (limit {MAX_HEADER})");
        return Err(Error::format(path, format!("not a safetensors file, or truncated: {problem}")));
    }
    let mut text = vec![0; size as usize];
    file.read(&mut text, 8).map_err(Error::io("read", path))?;
    let metadata: Metadata = serde_json::from_slice(&text)
        .map_err(|e| Error::format(path, format!("not a valid safetensors header: {e}; write the file again")))?;
    let expected = u128::from(8 + size) + metadata.data_len() as u128;
    if expected != u128::from(len) {
        let problem = format!("its header promises {expected} bytes in all, but the file has {len}");
        let what = if expected > u128::from(len) { "truncated" } else { "bytes follow the last tensor" };
        return Err(Error::format(path, format!("{what}: {problem}; copy or write it again")));
    }
    Ok((metadata, 8 + size))
}

/// The tensor called `key`, or the only one that can hold rows.
fn choose<'a>(
    tensors: &'a BTreeMap<String, &'a TensorInfo>,
    key: Option<&str>,
) -> Result<(&'a str, &'a TensorInfo), Problem> {
    let names = || {
        let mut names: Vec<String> = tensors.iter().take(LISTED).map(|(name, info)| describe(name, info)).collect();
        if tensors.len() > LISTED {
            names.push(format!("{} more", tensors.len() - LISTED));
        }
        names
    };
    let problem = |text: String| Problem::new(text).remedy(Remedy::ChooseTensor { names: names() });
    if let Some(key) = key {
        let found = tensors.get_key_value(key).map(|(name, info)| (name.as_str(), *info));
        return found.ok_or_else(|| problem(format!("no tensor is called {key:?}")));
    }
    let is_rows =
        |info: &TensorInfo| matches!(info.shape[..], [_, _] | [_, 1, _]) && element_type(info.dtype).is_some();
    let mut rows = tensors.iter().filter(|(_, info)| is_rows(info));
    match (rows.next(), rows.next()) {
        (Some((name, info)), None) => Ok((name, info)),
        (None, _) => {
            let held = if tensors.is_empty() { "no tensor at all".to_owned() } else { names().join(", ") };
            Err(format!("no 2-D tensor of F16, BF16, F32 or F64, which rows are; it holds: {held}").into())
        }
        (Some(_), Some(_)) => Err(problem("several tensors could hold the rows".to_owned())),
    }
}

fn describe(name: &str, info: &TensorInfo) -> String {
    let shown: String = name.chars().take(80).collect();
    format!("{shown:?} ({} {:?})", info.dtype, info.shape)
}

pub(super) fn element_type(dtype: Dtype) -> Option<ElementType> {
    match dtype {
        Dtype::F16 => Some(ElementType::F16),
        Dtype::BF16 => Some(ElementType::BF16),
        Dtype::F32 => Some(ElementType::F32),
        Dtype::F64 => Some(ElementType::F64),
        _ => None,
    }
}

pub(super) fn dtype(element: ElementType) -> Result<Dtype> {
    match element {
        ElementType::F16 => Ok(Dtype::F16),
        ElementType::BF16 => Ok(Dtype::BF16),
        ElementType::F32 => Ok(Dtype::F32),
        ElementType::F64 => Ok(Dtype::F64),
        ElementType::Fixed | ElementType::Q8_0 => {
            Err(Error::argument("output type", format!("safetensors files cannot hold {element}; choose f32")))
        }
    }
}

/// A tensor of the output: its dtype, shape, size, and where its bytes are in the input; `None` for the rows.
pub(super) struct Planned {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: u64,
    pub source: Option<u64>,
}

/// What a new file has beside its rows.
pub(super) enum Beside<'a> {
    /// The other tensors and the `__metadata__` of a file, whose rows are called `key`, but for the rows' encoder.
    Copied { input: &'a Shard, key: &'a str },
    /// Notes, which become its `__metadata__`.
    Notes(&'a BTreeMap<String, String>),
}

/// Writes everything but the rows into `out`, and says where the rows go and where the file ends. `rows × width` of
/// `element` must have been checked against overflow by the input's [`Found`].
pub(super) fn start(
    out: &File,
    out_path: &Path,
    (rows, width, element): (u64, usize, ElementType),
    beside: Beside<'_>,
) -> Result<u64> {
    let bytes = rows * (width * element.bytes()) as u64;
    let (key, input, own) = match beside {
        Beside::Copied { input, key } => (key, Some(input), None),
        Beside::Notes(notes) => (DEFAULT_KEY, None, Some(notes).filter(|notes| !notes.is_empty())),
    };
    let shape = vec![rows as usize, width];
    let mut plan = vec![Planned { name: key.to_string(), dtype: dtype(element)?, shape, bytes, source: None }];
    let mut notes = own.cloned();
    let mut source = None;
    if let Some(input) = input {
        let (file, len) = input.open()?;
        let (metadata, data_at) = read_header(&file, len, input.path())?;
        plan.extend(metadata.tensors().into_iter().filter(|(name, _)| name != key).map(|(name, info)| Planned {
            name,
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes: (info.data_offsets.1 - info.data_offsets.0) as u64,
            source: Some(data_at + info.data_offsets.0 as u64),
        }));
        let (there, encoder) = (metadata.metadata().clone(), input.encoder());
        notes =
            (there.is_some() || encoder.is_some()).then(|| EncoderId::renoted(encoder, there.into_iter().flatten()));
        source = Some((file, input.path()));
    }
    // The library's own order: largest alignment first, so that every tensor is aligned; then by name.
    plan.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    let header = header(&plan, notes, out_path)?;
    let total = header.len() as u64 + plan.iter().map(|tensor| tensor.bytes).sum::<u64>();
    positional::reserve(out, total).map_err(Error::io("write", out_path))?;
    positional::write(out, &header, 0).map_err(Error::io("write", out_path))?;
    let mut rows_at = 0;
    let mut offset = header.len() as u64;
    for tensor in &plan {
        match (tensor.source, &source) {
            (Some(from), Some((file, path))) => copy(file, path, from, out, out_path, offset, tensor.bytes)?,
            _ => rows_at = offset,
        }
        offset += tensor.bytes;
    }
    Ok(rows_at)
}

/// The JSON table with its length in front, padded so that the tensors start at a multiple of 8.
pub(super) fn header(plan: &[Planned], notes: Option<BTreeMap<String, String>>, path: &Path) -> Result<Vec<u8>> {
    let mut table = Map::new();
    if let Some(notes) = notes {
        table.insert("__metadata__".to_string(), json!(notes));
    }
    let mut offset = 0u64;
    for tensor in plan {
        let end = offset + tensor.bytes;
        let dtype = Value::String(tensor.dtype.to_string());
        let entry = json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end]});
        table.insert(tensor.name.clone(), entry);
        offset = end;
    }
    let mut text = Value::Object(table).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    if text.len() as u64 > MAX_HEADER {
        return Err(Error::format(path, format!("the table of tensors would exceed {MAX_HEADER} bytes")));
    }
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    Ok(header)
}

fn copy(
    from: &Source,
    from_path: &Path,
    mut at: u64,
    to: &File,
    to_path: &Path,
    mut dest: u64,
    len: u64,
) -> Result<()> {
    let mut block = vec![0; COPY_BLOCK.min(len as usize)];
    let end = at + len;
    while at < end {
        let n = (end - at).min(COPY_BLOCK as u64) as usize;
        from.read(&mut block[..n], at).map_err(Error::io("read", from_path))?;
        positional::write(to, &block[..n], dest).map_err(Error::io("write", to_path))?;
        at += n as u64;
        dest += n as u64;
    }
    Ok(())
}
