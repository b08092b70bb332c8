//! The last norm, the output matrix and the loss, over the supervised tokens only, in blocks of rows and over the vocabulary in
//! chunks, so that logits of `[n, vocabulary]` never exist as a whole.

use std::collections::BTreeSet;

use super::backward::gradient_space;
use super::{Decoder, Space};
use crate::device::{Buffer, Device, Purpose, Recorder, Tensor};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::nn::embedding::{self, ScatterPlan};
use crate::kernels::nn::{cross_entropy, elementwise, rms_norm};
use crate::nn::ShardedMatrix;
use crate::nn::parameters::Gradients;
use crate::{ElementType, Error, Result};

/// The size of the blocks that logits are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogitsBlock {
    /// Bytes that a block may take, unless the device binds less.
    pub bytes: u64,
    /// Rows that a block should have at least: the output matrix is read once for each.
    pub rows: u64,
}

impl Default for LogitsBlock {
    fn default() -> Self {
        LogitsBlock { bytes: 64 << 20, rows: 512 }
    }
}

/// Which rows of a batch are supervised, and their labels.
#[derive(Clone, Debug)]
pub struct Head {
    rows: Buffer,
    plan: ScatterPlan,
    labels: Buffer,
    losses: Buffer,
    count: usize,
}

impl Head {
    /// From the labels of every token, `[n]`: that of the token after it, or -100 where there is none.
    ///
    /// # Errors
    /// No label at all; no memory.
    pub fn new(device: &Device, labels: &[i32]) -> Result<Self> {
        let (rows, chosen): (Vec<u32>, Vec<i32>) =
            labels.iter().enumerate().filter(|(_, l)| **l >= 0).map(|(i, l)| (i as u32, *l)).unzip();
        if rows.is_empty() {
            return Err(Error::argument("labels", "no token of the batch has one; leave the batch out"));
        }
        Ok(Head {
            plan: ScatterPlan::new(device, &rows)?,
            rows: device.buffer_from("supervised rows", bytemuck::cast_slice(&rows))?,
            labels: device.buffer_from("labels", bytemuck::cast_slice(&chosen))?,
            losses: device.buffer("losses", 4 * rows.len() as u64)?,
            count: rows.len(),
        })
    }

    /// Negative log-likelihood of each supervised token once the loss is computed, f32 `[count]`.
    pub fn losses(&self) -> &Buffer {
        &self.losses
    }

    /// Supervised tokens.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// How logits are cut: by the vocabulary and the device's limit alone. A batch must give the same sums whichever batches were before
/// it, or a resumed run would leave the path of an uninterrupted one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    /// Rows of a block.
    rows: usize,
    /// The chunks of the vocabulary.
    chunks: Vec<Chunk>,
}

/// Rows of the output matrix, all in one shard of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunk {
    shard: usize,
    /// First row in the shard.
    row: usize,
    /// First row in the vocabulary.
    first: usize,
    width: usize,
}

impl Cut {
    /// `shards`: how many rows each shard of the output matrix has.
    fn new(shards: impl Iterator<Item = usize>, block: LogitsBlock, max_binding: u64) -> Self {
        let vectors = block.bytes.min(max_binding) / 16;
        let most = usize::try_from((vectors / block.rows.max(1)).max(1) * 4).unwrap_or(usize::MAX);
        let (mut chunks, mut before) = (Vec::new(), 0);
        for (shard, rows) in shards.enumerate() {
            // Chunks of like width, none with padding but the last.
            let width = rows.div_ceil(rows.div_ceil(most).max(1)).next_multiple_of(4).max(4);
            let chunk = |row| Chunk { shard, row, first: before + row, width: width.min(rows - row) };
            chunks.extend((0..rows).step_by(width).map(chunk));
            before += rows;
        }
        let widest = chunks.iter().map(|chunk| chunk.width.div_ceil(4)).max().unwrap_or(1);
        Cut { rows: (vectors as usize / widest).max(1), chunks }
    }
}

/// Work space of the head for at most some number of supervised tokens.
#[derive(Clone, Debug)]
pub struct HeadSpace {
    cut: Cut,
    rows: Tensor,
    normed: Tensor,
    /// A block of logits for each width that a chunk has.
    logits: Vec<Tensor>,
    /// Their gradients in f16, for products to read; none where those read f32.
    d_logits: Vec<Tensor>,
    state: Tensor,
    d_normed: Tensor,
    d_rows: Tensor,
}

impl HeadSpace {
    /// Room for `count` supervised tokens.
    ///
    /// # Errors
    /// No memory.
    pub fn new(device: &Device, decoder: &Decoder, count: usize) -> Result<Self> {
        let label = (Purpose::Head, "rows");
        let make = |width| Tensor::labelled(device, label, (count, width), ElementType::F32);
        let hidden = decoder.config().hidden_size;
        let shards = decoder.parameters.get(decoder.output).value.shards();
        let shards = shards.map(|(_, shard)| shard.rows());
        let cut = Cut::new(shards, decoder.logits_block, device.capabilities().max_binding);
        let widths: BTreeSet<usize> = cut.chunks.iter().map(|chunk| chunk.width).collect();
        let rounded = decoder.precision().activations();
        let block = |width: usize, element| {
            Tensor::labelled(device, (Purpose::Head, "logits"), (cut.rows.min(count), width), element)
        };
        let blocks = |element| widths.iter().map(|width| block(*width, element)).collect::<Result<Vec<_>>>();
        Ok(HeadSpace {
            rows: make(hidden)?,
            normed: Tensor::labelled(device, label, (count, hidden), rounded)?,
            logits: blocks(ElementType::F32)?,
            d_logits: if rounded == ElementType::F32 { Vec::new() } else { blocks(rounded)? },
            state: make(4)?,
            d_normed: make(hidden)?,
            d_rows: make(hidden)?,
            cut,
        })
    }

    fn first_rows(&self, n: usize) -> Result<Self> {
        Ok(HeadSpace {
            cut: self.cut.clone(),
            rows: self.rows.first_rows(n)?,
            normed: self.normed.first_rows(n)?,
            logits: self.logits.clone(),
            d_logits: self.d_logits.clone(),
            state: self.state.first_rows(n)?,
            d_normed: self.d_normed.first_rows(n)?,
            d_rows: self.d_rows.first_rows(n)?,
        })
    }

    /// Where a chunk's logits of `rows` rows are.
    fn block(&self, chunk: Chunk, rows: usize) -> Result<Tensor> {
        block_of(&self.logits, chunk, rows)
    }

    /// The gradient of a chunk's logits as products read it; records its rounding where they read f16.
    fn gradient_operand(&self, recorder: &mut Recorder, chunk: Chunk, logits: &Tensor) -> Result<Tensor> {
        if self.d_logits.is_empty() {
            return Ok(logits.clone());
        }
        let rounded = block_of(&self.d_logits, chunk, logits.rows())?;
        elementwise::cast(recorder, logits, &rounded)?;
        Ok(rounded)
    }
}

/// The first rows of the block of a chunk's width.
fn block_of(blocks: &[Tensor], chunk: Chunk, rows: usize) -> Result<Tensor> {
    let found = blocks.iter().find(|block| block.width() == chunk.width);
    found.ok_or_else(|| Error::shape("loss", "head space", "one made for this decoder", "another"))?.first_rows(rows)
}

/// Work space for the logits of some rows over the whole vocabulary.
#[derive(Clone, Debug)]
pub struct Logits {
    rows: Tensor,
    normed: Tensor,
    /// For each shard of the output matrix.
    parts: Vec<Tensor>,
}

impl Logits {
    /// Room for the logits of `count` rows.
    ///
    /// # Errors
    /// Logits above the device's largest binding; no memory.
    pub fn new(device: &Device, decoder: &Decoder, count: usize) -> Result<Self> {
        let label = (Purpose::Head, "rows");
        let make = |width| Tensor::labelled(device, label, (count, width), ElementType::F32);
        let hidden = decoder.config().hidden_size;
        let shards = decoder.parameters.get(decoder.output).value.shards();
        let parts = shards.map(|(_, shard)| make(shard.rows())).collect::<Result<_>>()?;
        let normed = Tensor::labelled(device, label, (count, hidden), decoder.precision().activations())?;
        Ok(Logits { rows: make(hidden)?, normed, parts })
    }

    /// What [`Decoder::logits`] wrote, `[count, vocabulary]`, waiting for the device.
    ///
    /// # Errors
    /// The device was lost.
    pub fn read_blocking(&self, device: &Device) -> Result<Vec<f32>> {
        let parts = self.parts.iter().map(|part| part.to_f32_blocking(device)).collect::<Result<_>>()?;
        Ok(self.joined(parts))
    }

    /// As [`Self::read_blocking`], without waiting.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn read(&self, device: &Device) -> Result<Vec<f32>> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            parts.push(part.to_f32(device).await?);
        }
        Ok(self.joined(parts))
    }

    /// Rows `[count, vocabulary]` of parts `[count, ...]`.
    fn joined(&self, mut parts: Vec<Vec<f32>>) -> Vec<f32> {
        if parts.len() == 1 {
            return parts.swap_remove(0);
        }
        let row = |i: usize| {
            let each = self.parts.iter().zip(&parts);
            each.flat_map(move |(part, numbers)| &numbers[i * part.width()..(i + 1) * part.width()])
        };
        (0..self.rows.rows()).flat_map(row).copied().collect()
    }
}

impl Decoder {
    /// Records the negative log-likelihoods of the supervised tokens, and, with `scale`, the gradient of `scale` times
    /// their sum: into `gradients`, and into the space's gradient of the residual stream, which is overwritten.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn loss(
        &self,
        recorder: &mut Recorder,
        head: &Head,
        space: (&Space, &HeadSpace),
        backward: Option<(&Gradients, f32)>,
    ) -> Result<()> {
        let (stream, s) = (space.0.stream(self.config().layers), space.1.first_rows(head.count)?);
        let norm = self.parameters.tensor(self.norm)?;
        let constants = self.norm_constants();
        embedding::gather(recorder, stream, None, &head.rows, &s.rows)?;
        rms_norm::forward_offset(recorder, constants, &s.rows, norm, &s.normed)?;
        for first in (0..head.count).step_by(s.cut.rows) {
            self.loss_block(recorder, head, (first, s.cut.rows.min(head.count - first)), &s, backward)?;
        }
        cross_entropy::finish(recorder, &s.state, &head.labels, &head.losses)?;
        let Some((gradients, _)) = backward else { return Ok(()) };
        let d = gradient_space(space.0)?;
        rms_norm::backward_offset(
            recorder,
            constants,
            &s.rows,
            norm,
            &s.d_normed,
            (&s.d_rows, false),
            gradients.tensor(self.norm)?,
        )?;
        recorder.clear(d.stream.buffer());
        embedding::scatter(recorder, &head.plan, &s.d_rows, Some(&d.stream), None)
    }

    /// A block of rows, its first and their number: all chunks forward, and from the last to the first backward, so that the last one's
    /// logits, or those of a vocabulary in one chunk, are computed once.
    fn loss_block(
        &self,
        recorder: &mut Recorder,
        head: &Head,
        (first, rows): (usize, usize),
        s: &HeadSpace,
        backward: Option<(&Gradients, f32)>,
    ) -> Result<()> {
        for &chunk in &s.cut.chunks {
            let logits = s.block(chunk, rows)?;
            self.chunk_logits(recorder, Operand::new(&s.normed).rows(first, rows), chunk, &logits)?;
            cross_entropy::forward_chunk(recorder, &logits, (first, chunk.first), &head.labels, &s.state)?;
        }
        let Some((gradients, scale)) = backward else { return Ok(()) };
        for (i, &chunk) in s.cut.chunks.iter().rev().enumerate() {
            let logits = s.block(chunk, rows)?;
            if i > 0 {
                self.chunk_logits(recorder, Operand::new(&s.normed).rows(first, rows), chunk, &logits)?;
            }
            cross_entropy::backward_chunk(recorder, &logits, (first, chunk.first), &head.labels, &s.state, scale)?;
            let d_logits = s.gradient_operand(recorder, chunk, &logits)?;
            self.backward_chunk(recorder, gradients, (&d_logits, first, chunk), (s, i > 0))?;
        }
        Ok(())
    }

    /// Logits `[m, chunk]` of the rows `normed`.
    fn chunk_logits(&self, recorder: &mut Recorder, normed: Operand<'_>, chunk: Chunk, logits: &Tensor) -> Result<()> {
        let output = shard_of(self.parameters.get(self.output).operand(), chunk)?;
        let weight = Operand::new(output).rows(chunk.row, chunk.width).transposed();
        matmul::record(recorder, self.logits_product(false), (normed, weight), (logits, 0))
    }

    /// A product with the output matrix or back from it, divided as logits are.
    fn logits_product(&self, accumulate: bool) -> Product {
        Product { alpha: (1.0 / self.config().logits_divisor) as f32, accumulate, upper: false }
    }

    /// From the gradient of a block's logits to that of its rows, written or added to, and of the output matrix.
    fn backward_chunk(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        (d_logits, first, chunk): (&Tensor, usize, Chunk),
        (s, accumulate): (&HeadSpace, bool),
    ) -> Result<()> {
        let product = |accumulate| self.logits_product(accumulate);
        let output = shard_of(self.parameters.get(self.output).operand(), chunk)?;
        let output = Operand::new(output).rows(chunk.row, chunk.width);
        matmul::record(recorder, product(accumulate), (Operand::new(d_logits), output), (&s.d_normed, first))?;
        if let Some(d_output) = gradients.get(self.output) {
            let normed = Operand::new(&s.normed).rows(first, d_logits.rows());
            let operands = (Operand::new(d_logits).transposed(), normed);
            matmul::record(recorder, product(true), operands, (shard_of(d_output, chunk)?, chunk.row))?;
        }
        Ok(())
    }

    /// Records the logits of `rows` of the residual stream over the whole vocabulary, for generation.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn logits(&self, recorder: &mut Recorder, rows: &Buffer, (space, s): (&Space, &Logits)) -> Result<()> {
        let stream = space.stream(self.config().layers);
        embedding::gather(recorder, stream, None, rows, &s.rows)?;
        let norm = self.parameters.tensor(self.norm)?;
        rms_norm::forward_offset(recorder, self.norm_constants(), &s.rows, norm, &s.normed)?;
        for (shard, part) in s.parts.iter().enumerate() {
            let whole = Chunk { shard, row: 0, first: 0, width: part.width() };
            self.chunk_logits(recorder, Operand::new(&s.normed), whole, part)?;
        }
        Ok(())
    }
}

impl Decoder {
    /// Records the last norm of rows of the stream: what the output matrix reads, and encoders of texts pool.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn normed_stream(&self, recorder: &mut Recorder, rows: &Tensor, normed: &Tensor) -> Result<()> {
        let norm = self.parameters.tensor(self.norm)?;
        rms_norm::forward_offset(recorder, self.norm_constants(), rows, norm, normed)
    }
}

/// The tensor that a chunk's rows are in.
fn shard_of(table: &ShardedMatrix, chunk: Chunk) -> Result<&Tensor> {
    let found = table.shards().nth(chunk.shard).map(|(_, shard)| shard);
    found.ok_or_else(|| Error::shape("loss", "head space", "one made for this decoder", "another"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_has_every_column_once_and_fits_the_limit() {
        let shards: [&[usize]; 8] =
            [&[1], &[3], &[256], &[160, 96], &[50_257], &[128_256], &[151_936], &[60_000, 60_000, 31_935]];
        for shards in shards {
            let vocabulary = shards.iter().sum::<usize>();
            for limit in [16, 1000, 40_000, 1 << 20, 128 << 20, u64::MAX] {
                let cut = Cut::new(shards.iter().copied(), LogitsBlock::default(), limit);
                let (mut next, most) = (0, LogitsBlock::default().bytes.min(limit) as usize);
                for chunk in &cut.chunks {
                    assert_eq!((chunk.first, chunk.first % 4), (next, 0), "{shards:?} {limit}");
                    assert_eq!(shards[..chunk.shard].iter().sum::<usize>() + chunk.row, next, "{shards:?} {limit}");
                    assert!(chunk.row + chunk.width <= shards[chunk.shard], "{shards:?} {limit}: across shards");
                    assert!(chunk.width > 0 && cut.rows * chunk.width.div_ceil(4) * 16 <= most);
                    next += chunk.width;
                }
                assert_eq!(next, vocabulary, "{limit}");
            }
        }
        // A real vocabulary on a device with room: few chunks, and rows enough for a product.
        let cut = Cut::new([128_256].into_iter(), LogitsBlock::default(), u64::MAX);
        assert_eq!((cut.chunks.len(), cut.rows), (4, 523));
    }
}
