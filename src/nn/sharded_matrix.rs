//! Matrices whose rows lie in one tensor or, where a device binds less than they take, in several.

use crate::device::{Device, Purpose, Recorder, Tensor};
use crate::{ElementType, Error, Result};

/// A matrix `[rows, width]` on a device, cut by rows into shards of one size, the last perhaps smaller, each a tensor that the device
/// binds as a whole.
#[derive(Clone, Debug)]
pub struct ShardedMatrix {
    shards: Vec<Tensor>,
    rows: usize,
}

impl From<Tensor> for ShardedMatrix {
    fn from(tensor: Tensor) -> Self {
        ShardedMatrix { rows: tensor.rows(), shards: vec![tensor] }
    }
}

impl ShardedMatrix {
    /// The values `data`, row-major `[n, width]`, stored as f32, f16, bf16 (rounded to nearest) or in blocks of Q8_0, in as many shards as the device's
    /// largest binding asks for; `name` is for errors.
    ///
    /// # Errors
    /// Another type; data that is no whole number of rows; a row above a binding; a number beyond f16; no memory.
    pub fn from_f32(device: &Device, name: &str, data: &[f32], width: usize, element: ElementType) -> Result<Self> {
        if width == 0 || !data.len().is_multiple_of(width) {
            return Err(Error::shape("table", "data", format!("{name}: whole rows of {width}"), data.len()));
        }
        let most = shard_rows(device, data.len() / width, width, element);
        let shards = match data.is_empty() {
            true => vec![stored(device, name, data, width, element)?],
            false => data
                .chunks(most.saturating_mul(width))
                .map(|rows| stored(device, name, rows, width, element))
                .collect::<Result<_>>()?,
        };
        Ok(ShardedMatrix { shards, rows: data.len() / width })
    }

    /// f32 zeros, cut as this table is: its gradient, or a moment of it.
    ///
    /// # Errors
    /// No memory.
    pub fn zeros_like(&self, device: &Device, label: (Purpose, &str)) -> Result<Self> {
        self.empty_like(device, label, ElementType::F32)
    }

    /// Zeros of another element type, cut as this table is.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn empty_like(&self, device: &Device, label: (Purpose, &str), element: ElementType) -> Result<Self> {
        let zeros = |shard: &Tensor| Tensor::labelled(device, label, (shard.rows(), shard.width()), element);
        Ok(ShardedMatrix { shards: self.shards.iter().map(zeros).collect::<Result<_>>()?, rows: self.rows })
    }

    /// The shards with the number of the first row of each.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = (usize, &Tensor)> {
        // Invariant: all but the last have the first one's rows.
        let rows = self.shards[0].rows();
        self.shards.iter().enumerate().map(move |(i, shard)| (i * rows, shard))
    }

    /// Whether the other has this one's shape and is cut alike.
    #[cfg(feature = "train")]
    pub(crate) fn is_cut_as(&self, other: &ShardedMatrix) -> bool {
        let shape = |m: &ShardedMatrix| (m.rows, m.width(), m.shards.len());
        shape(self) == shape(other)
    }

    /// The matrix as one tensor, if it is one.
    pub fn single(&self) -> Option<&Tensor> {
        self.shards.first().filter(|_| self.shards.len() == 1)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.shards[0].width()
    }

    /// Element type.
    pub fn element_type(&self) -> ElementType {
        self.shards[0].element_type()
    }

    /// Bytes of all shards.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.buffer().bytes()).sum()
    }

    /// The rows as f32, tight, `[rows, width]`, waiting for the device.
    ///
    /// # Errors
    /// The device was lost.
    pub fn to_f32_blocking(&self, device: &Device) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(self.rows * self.width());
        self.shards.iter().try_for_each(|shard| shard.to_f32_blocking(device).map(|part| all.extend(part)))?;
        Ok(all)
    }

    /// As [`Self::to_f32_blocking`], without waiting: see [`Device::read`].
    ///
    /// # Errors
    /// The device was lost.
    pub async fn to_f32(&self, device: &Device) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(self.rows * self.width());
        for shard in &self.shards {
            all.extend(shard.to_f32(device).await?);
        }
        Ok(all)
    }

    /// Replaces the rows of a table of f32 or bf16 by these, tight, `[rows, width]`.
    ///
    /// # Errors
    /// Another number of elements; another element type; another device's table.
    pub fn write_f32(&self, device: &Device, data: &[f32]) -> Result<()> {
        let (width, elements) = (self.width(), self.rows * self.width());
        if data.len() != elements {
            return Err(Error::shape("write a table", "data", format!("{elements} numbers"), data.len()));
        }
        let part = |first: usize, shard: &Tensor| &data[first * width..(first + shard.rows()) * width];
        self.shards().try_for_each(|(first, shard)| shard.write_f32(device, part(first, shard)))
    }

    /// Records the zeroing.
    pub fn clear(&self, recorder: &mut Recorder) {
        self.shards.iter().for_each(|shard| recorder.clear(shard.buffer()));
    }
}

/// Rows of a shard of a table of `rows` rows: as few shards as the device allows, of like size, and a multiple of 4 rows, so that the
/// logits of a shard are cut without padding.
fn shard_rows(device: &Device, rows: usize, width: usize, element: ElementType) -> usize {
    // A table in bf16 may train: its gradient, cut as it is, has 4 bytes an element.
    let element = if element == ElementType::BF16 { ElementType::F32 } else { element };
    let stride = Tensor::stride_of(width, element).max(1) as u64;
    let most = usize::try_from(device.capabilities().max_binding / stride).unwrap_or(usize::MAX);
    let most = if most >= 4 { most / 4 * 4 } else { most.max(1) };
    rows.div_ceil(rows.div_ceil(most).max(1)).next_multiple_of(4).min(most)
}

/// Rows on the device as `element`.
pub(super) fn stored(device: &Device, name: &str, data: &[f32], width: usize, element: ElementType) -> Result<Tensor> {
    let label = (Purpose::Weights, name);
    if device.plans() {
        return Tensor::labelled(device, label, (data.len() / width, width), element);
    }
    let store = |bytes: &[u8]| Tensor::labelled_from_bytes(device, label, bytes, width, element);
    let halves: Vec<u16> = match element {
        ElementType::F32 => return store(bytemuck::cast_slice(data)),
        ElementType::BF16 => data.iter().map(|&x| half::bf16::from_f32(x).to_bits()).collect(),
        ElementType::F16 => {
            if let Some(x) = data.iter().find(|x| !half::f16::from_f32(**x).is_finite()) {
                return Err(Error::argument(
                    "storage type",
                    format!("{name} has {x}, which f16 cannot hold; take bf16"),
                ));
            }
            data.iter().map(|&x| half::f16::from_f32(x).to_bits()).collect()
        }
        ElementType::Q8_0 => return Tensor::quantized(device, label, data, width),
        ElementType::F64 | ElementType::Fixed => {
            return Err(Error::argument("storage type", format!("{element}; take f32, f16, bf16 or q8_0")));
        }
    };
    store(bytemuck::cast_slice(&halves))
}
