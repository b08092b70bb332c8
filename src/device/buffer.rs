//! Buffers and tensors.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::{Device, Engine};
use crate::blocks;
use crate::error::Problem;
use crate::gpu::GpuMemory;
use crate::spec::{Purpose, Use};
use crate::{ElementType, Error, Result};

pub(crate) enum Storage {
    Gpu(Box<GpuMemory>),
    Host(HostMemory),
    /// Of a device that plans: nothing.
    Nothing,
}

/// Host memory of a buffer, aligned for every element type.
pub(crate) struct HostMemory(RwLock<Vec<u64>>);

impl HostMemory {
    pub(crate) fn read<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(bytemuck::cast_slice(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn write<R>(&self, f: impl FnOnce(&mut [u8]) -> R) -> R {
        f(bytemuck::cast_slice_mut(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn lock(&self) -> &RwLock<Vec<u64>> {
        &self.0
    }
}

struct Inner {
    storage: Storage,
    bytes: u64,
    purpose: Purpose,
    device: Device,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.device.0.tracker.give(self.purpose, self.bytes);
    }
}

/// Memory on a device; clones share it.
#[derive(Clone)]
pub struct Buffer(Arc<Inner>);

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes on {})", self.0.bytes, self.0.device.name())
    }
}

impl Buffer {
    pub(crate) fn new(device: &Device, label: &str, bytes: u64, (used, purpose): (Use, Purpose)) -> Result<Self> {
        // Sizes near u64::MAX have no next multiple; they fit nowhere.
        let bytes = bytes.max(4).checked_next_multiple_of(4).unwrap_or(u64::MAX);
        if bytes > device.capabilities().max_binding {
            return Err(Error::Unsupported {
                adapter: device.name().to_owned(),
                problem: Problem::new(format!(
                    "{label} needs {bytes} bytes, a binding holds {}",
                    device.capabilities().max_binding
                ))
                .remedy(purpose.remedy()),
            });
        }
        let full = || Error::OutOfMemory {
            adapter: device.name().to_owned(),
            what: label.to_owned(),
            bytes,
            remedy: purpose.remedy(),
        };
        if !device.0.tracker.take(purpose, bytes) {
            return Err(full());
        }
        // From here on the bytes are given back when this is dropped.
        let mut inner = Inner { storage: Storage::Nothing, bytes, purpose, device: device.clone() };
        inner.storage = match &device.0.engine {
            Engine::Gpu(gpu) => {
                let mapped = device.capabilities().mapped_storage;
                let memory = gpu.allocate(label, bytes, used, mapped).map_err(|error| match error {
                    Error::OutOfMemory { .. } => full(),
                    other => other,
                })?;
                Storage::Gpu(Box::new(memory))
            }
            Engine::Host => {
                let words = usize::try_from(bytes.div_ceil(8)).map_err(|_| full())?;
                let mut memory = Vec::new();
                memory.try_reserve_exact(words).map_err(|_| full())?;
                memory.resize(words, 0);
                Storage::Host(HostMemory(RwLock::new(memory)))
            }
            Engine::Plan => Storage::Nothing,
        };
        Ok(Buffer(Arc::new(inner)))
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Whether `device` made this buffer.
    pub fn belongs_to(&self, device: &Device) -> bool {
        Arc::ptr_eq(&self.0.device.0, &device.0)
    }

    /// Whether both are the same memory.
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn check_device(&self, operation: &'static str, device: &Device) -> Result<()> {
        match self.belongs_to(device) {
            true => Ok(()),
            false => Err(Error::shape(operation, "buffer", "a buffer of this device", "another device's")),
        }
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.0.storage
    }
}

/// A buffer that all share who need it at the same time; the device does not hold it, for a buffer holds its device.
#[derive(Default)]
pub(super) struct SharedBuffer(Mutex<Weak<Inner>>);

impl SharedBuffer {
    /// The buffer that somebody has, or a new one.
    pub fn get(&self, make: impl FnOnce() -> Result<Buffer>) -> Result<Buffer> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = shared.upgrade() {
            return Ok(Buffer(inner));
        }
        let made = make()?;
        *shared = Arc::downgrade(&made.0);
        Ok(made)
    }
}

/// Rows on a device: `[n, d]` of one element type, each row padded with zeros to a multiple of 4 elements.
#[derive(Clone, Debug)]
pub struct Tensor {
    buffer: Buffer,
    rows: usize,
    width: usize,
    element: ElementType,
}

impl Tensor {
    /// A zeroed tensor `[rows, width]`.
    ///
    /// # Errors
    /// A width of 0; f64, which devices do not hold; too large for a binding; no memory.
    pub fn new(device: &Device, rows: usize, width: usize, element: ElementType) -> Result<Self> {
        Self::labelled(device, (Purpose::Data, "rows"), (rows, width), element)
    }

    /// A zeroed tensor `[rows, width]` that errors call by its purpose and name.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn labelled(
        device: &Device,
        label: (Purpose, &str),
        (rows, width): (usize, usize),
        element: ElementType,
    ) -> Result<Self> {
        Self::with_use(device, label, (rows, width), element, Use::Compute)
    }

    pub(crate) fn with_use(
        device: &Device,
        (purpose, name): (Purpose, &str),
        (rows, width): (usize, usize),
        element: ElementType,
        used: Use,
    ) -> Result<Self> {
        let in_blocks = element == ElementType::Q8_0;
        if width == 0 || element == ElementType::F64 || (in_blocks && !width.is_multiple_of(blocks::BLOCK)) {
            return Err(Error::shape(
                "tensor",
                "shape",
                "a width above 0, in q8_0 a multiple of 32; not f64",
                format!("[{rows}, {width}] {element}"),
            ));
        }
        let bytes = match in_blocks {
            true => blocks::device_bytes((rows as u64).saturating_mul(width as u64)).unwrap_or(u64::MAX),
            false => (rows as u64).saturating_mul(Self::stride_of(width, element) as u64),
        };
        let label = format!("{} ({name} [{rows}, {width}] {element})", purpose.name());
        let buffer = Buffer::new(device, &label, bytes, (used, purpose))?;
        Ok(Tensor { buffer, rows, width, element })
    }

    /// A tensor that holds `data`, tight rows of `[n, width]` in `element`'s own bytes.
    ///
    /// # Errors
    /// As [`Tensor::new`]; data that is no whole number of rows.
    pub fn from_bytes(device: &Device, data: &[u8], width: usize, element: ElementType) -> Result<Self> {
        Self::labelled_from_bytes(device, (Purpose::Data, "rows"), data, width, element)
    }

    /// As [`Tensor::from_bytes`], with the purpose and name of [`Tensor::labelled`].
    ///
    /// # Errors
    /// As [`Tensor::from_bytes`].
    pub fn labelled_from_bytes(
        device: &Device,
        label: (Purpose, &str),
        data: &[u8],
        width: usize,
        element: ElementType,
    ) -> Result<Self> {
        let tight = width.saturating_mul(element.bytes());
        if element == ElementType::Q8_0 {
            return Err(Error::shape("tensor", "data", "numbers: blocks of q8_0 are made of f32", "bytes"));
        }
        if tight == 0 || !data.len().is_multiple_of(tight) {
            return Err(Error::shape("tensor", "data", format!("whole rows of {tight} bytes"), data.len()));
        }
        let tensor = Self::labelled(device, label, (data.len() / tight, width), element)?;
        let mut padded = vec![0; tensor.rows * tensor.row_bytes()];
        pad_rows(data, tight, &mut padded, tensor.row_bytes());
        device.write(&tensor.buffer, &padded)?;
        Ok(tensor)
    }

    /// A tensor of f32 rows.
    ///
    /// # Errors
    /// As [`Tensor::from_bytes`].
    pub fn from_f32(device: &Device, data: &[f32], width: usize) -> Result<Self> {
        Self::from_bytes(device, bytemuck::cast_slice(data), width, ElementType::F32)
    }

    /// A tensor of blocks of Q8_0, of f32 rows of a multiple of 32 elements: each 32 numbers are the integers nearest to them over the
    /// largest of their magnitudes over 127, as llama.cpp makes them.
    ///
    /// # Errors
    /// As [`Tensor::from_bytes`]; another width; a number that is not finite, or beyond 8.3 million.
    pub fn quantized(device: &Device, label: (Purpose, &str), data: &[f32], width: usize) -> Result<Self> {
        if width == 0 || !data.len().is_multiple_of(width) {
            return Err(Error::shape("tensor", "data", format!("whole rows of {width} numbers"), data.len()));
        }
        let tensor = Self::labelled(device, label, (data.len() / width, width), ElementType::Q8_0)?;
        device.write(&tensor.buffer, bytemuck::cast_slice(&blocks::to_device(label.1, data)?))?;
        Ok(tensor)
    }

    /// Replaces the rows of a tensor of f32, f16 or bf16, to which numbers are rounded to nearest, by these, tight, `[n, width]`.
    ///
    /// # Errors
    /// Another number of elements; another element type; another device's tensor.
    pub fn write_f32(&self, device: &Device, data: &[f32]) -> Result<()> {
        let fits = matches!(self.element, ElementType::F32 | ElementType::F16 | ElementType::BF16);
        if !fits || data.len() != self.rows * self.width {
            let want = format!("f32, f16 or bf16 [{}, {}]", self.rows, self.width);
            return Err(Error::shape("write a tensor", "data", want, format!("{} into {}", data.len(), self.element)));
        }
        let mut padded = vec![0; self.rows * self.row_bytes()];
        let mut pad_halves = |halves: Vec<u16>| {
            pad_rows(bytemuck::cast_slice(&halves), 2 * self.width, &mut padded, self.row_bytes());
        };
        match self.element {
            ElementType::F16 => pad_halves(data.iter().map(|&x| half::f16::from_f32(x).to_bits()).collect()),
            ElementType::BF16 => pad_halves(data.iter().map(|&x| half::bf16::from_f32(x).to_bits()).collect()),
            _ => pad_rows(bytemuck::cast_slice(data), 4 * self.width, &mut padded, self.row_bytes()),
        }
        device.write(&self.buffer, &padded)
    }

    /// The rows as f32, tight, `[n, width]`, waiting for the device. f16 and bf16 are widened.
    ///
    /// # Errors
    /// The device was lost.
    pub fn to_f32_blocking(&self, device: &Device) -> Result<Vec<f32>> {
        let bytes = device.read_blocking(&self.buffer)?;
        Ok(self.decode_f32(&bytes))
    }

    /// As [`Tensor::to_f32_blocking`], without waiting: see [`Device::read`].
    ///
    /// # Errors
    /// The device was lost.
    pub async fn to_f32(&self, device: &Device) -> Result<Vec<f32>> {
        let bytes = device.read(&self.buffer).await?;
        Ok(self.decode_f32(&bytes))
    }

    fn decode_f32(&self, bytes: &[u8]) -> Vec<f32> {
        if self.element == ElementType::Q8_0 {
            let mut numbers = vec![0.0; self.rows * self.width];
            blocks::from_device(&bytemuck::pod_collect_to_vec(bytes), 0, &mut numbers);
            return numbers;
        }
        let widen = |e: &[u8]| match self.element {
            ElementType::F16 => half::f16::from_le_bytes([e[0], e[1]]).to_f32(),
            ElementType::BF16 => half::bf16::from_le_bytes([e[0], e[1]]).to_f32(),
            ElementType::Fixed => i32::from_le_bytes([e[0], e[1], e[2], e[3]]) as f32,
            _ => f32::from_le_bytes([e[0], e[1], e[2], e[3]]),
        };
        let rows = bytes.chunks_exact(self.row_bytes()).take(self.rows);
        rows.flat_map(|r| r.chunks_exact(self.element.bytes()).take(self.width).map(widen)).collect()
    }

    /// The first `rows` rows as a tensor that shares this one's memory: work space for batches of different sizes.
    ///
    /// # Errors
    /// More rows than there are.
    pub fn first_rows(&self, rows: usize) -> Result<Tensor> {
        if rows > self.rows {
            return Err(Error::shape("tensor", "rows", format!("at most {}", self.rows), rows));
        }
        Ok(Tensor { rows, ..self.clone() })
    }

    /// The same memory as `[rows, width]`: for rows without padding, whose elements follow each other.
    ///
    /// # Errors
    /// Another number of elements; a width, here or there, that is no multiple of 4.
    pub fn reshaped(&self, rows: usize, width: usize) -> Result<Tensor> {
        let tight = width > 0 && width.is_multiple_of(4) && self.width.is_multiple_of(4);
        if !tight || rows.checked_mul(width) != Some(self.rows * self.width) {
            let got = format!("[{rows}, {width}]");
            let want = format!("the elements of [{}, {}], and widths that are multiples of 4", self.rows, self.width);
            return Err(Error::shape("tensor", "reshaped", want, got));
        }
        Ok(Tensor { rows, width, ..self.clone() })
    }

    /// Bytes of a padded row.
    pub(crate) fn stride_of(width: usize, element: ElementType) -> usize {
        if element == ElementType::Q8_0 {
            return width.div_ceil(blocks::BLOCK).saturating_mul(blocks::BLOCK + 2);
        }
        width.div_ceil(4).saturating_mul(4 * element.bytes())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Groups of four elements of a padded row.
    pub fn width4(&self) -> usize {
        self.width.div_ceil(4)
    }

    /// Bytes of a padded row.
    pub fn row_bytes(&self) -> usize {
        Self::stride_of(self.width, self.element)
    }

    /// Element type.
    pub fn element_type(&self) -> ElementType {
        self.element
    }

    /// The memory.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }
}

/// Copies tight rows of `from` bytes into rows of `to` bytes, zero at the end.
pub(crate) fn pad_rows(tight: &[u8], from: usize, padded: &mut [u8], to: usize) {
    for (t, p) in tight.chunks_exact(from).zip(padded.chunks_exact_mut(to)) {
        p[..from].copy_from_slice(t);
        p[from..].fill(0);
    }
}
