//! Losses: of tokens over a vocabulary, and of pairs.

use super::case::{Case, Sizes, numbers};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::kernels::nn::info_nce::{self, Temperature};
use crate::kernels::nn::{cross_entropy, pair_sigmoid};
use crate::{ElementType, Result};

/// One chunk of the vocabulary for as many rows as a binding holds; every fifth label is ignored.
struct Chunk {
    logits: Tensor,
    labels: Buffer,
    state: Tensor,
}

impl Chunk {
    fn new(device: &Device, sizes: &Sizes) -> Result<Self> {
        let Sizes { tokens, vocabulary, .. } = *sizes;
        let most = (device.capabilities().max_binding / (4 * vocabulary as u64)).min(tokens as u64) as usize;
        let label = |i: i32| if i % 5 == 0 { -100 } else { i * 13 % vocabulary as i32 };
        let labels: Vec<i32> = (0..most as i32).map(label).collect();
        Ok(Chunk {
            logits: Tensor::from_f32(device, &numbers(5, most * vocabulary), vocabulary)?,
            labels: device.buffer_from("labels", bytemuck::cast_slice(&labels))?,
            state: Tensor::new(device, most, 4, ElementType::F32)?,
        })
    }

    /// One whose states the forward pass has left.
    fn seen(device: &Device, sizes: &Sizes) -> Result<Self> {
        let chunk = Chunk::new(device, sizes)?;
        let mut recorder = device.recorder();
        chunk.forward(&mut recorder)?;
        recorder.submit()?.wait()?;
        Ok(chunk)
    }

    fn forward(&self, recorder: &mut Recorder) -> Result<()> {
        cross_entropy::forward_chunk(recorder, &self.logits, (0, 0), &self.labels, &self.state)
    }

    fn shape(&self) -> String {
        format!("[{}, {}] f32", self.logits.rows(), self.logits.width())
    }

    fn count(&self) -> u64 {
        (self.logits.rows() * self.logits.width()) as u64
    }
}

pub(super) fn cross_entropy(device: &Device, sizes: &Sizes) -> Result<Case> {
    let chunk = Chunk::new(device, sizes)?;
    let (count, result) = (chunk.count(), chunk.state.buffer().clone());
    Ok(Case::kernel(chunk.shape(), (4 * count, 10 * count), (&result, false), move |r| chunk.forward(r)))
}

/// From the states to the losses: little to do, so that what it takes is a dispatch's own time.
pub(super) fn cross_entropy_finish(device: &Device, sizes: &Sizes) -> Result<Case> {
    let chunk = Chunk::seen(device, sizes)?;
    let rows = chunk.state.rows();
    let losses = device.buffer("losses", 4 * rows as u64)?;
    // A state of four numbers, a label and a loss.
    let work = (24 * rows as u64, 3 * rows as u64);
    Ok(Case::kernel(format!("{rows} rows"), work, (&losses.clone(), false), move |r| {
        cross_entropy::finish(r, &chunk.state, &chunk.labels, &losses)
    }))
}

/// The logits' gradient takes their place: from the second run on they are a gradient's, which is as much work.
pub(super) fn cross_entropy_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let chunk = Chunk::seen(device, sizes)?;
    let (count, result) = (chunk.count(), chunk.logits.buffer().clone());
    Ok(Case::kernel(chunk.shape(), (8 * count, 10 * count), (&result, false), move |r| {
        cross_entropy::backward_chunk(r, &chunk.logits, (0, 0), &chunk.labels, &chunk.state, 1.0)
    }))
}

/// Similarities of pairs, with work space.
struct Pairs {
    similarities: Tensor,
    transposed: Tensor,
    temperature: Tensor,
    rows: Tensor,
    columns: Tensor,
    losses: Buffer,
    terms: Tensor,
}

impl Pairs {
    fn new(device: &Device, sizes: &Sizes) -> Result<Self> {
        let n = sizes.side;
        let similarities = numbers(6, n * n);
        let transposed: Vec<f32> = (0..n * n).map(|k| similarities[k % n * n + k / n]).collect();
        let make = |width| Tensor::new(device, n, width, ElementType::F32);
        Ok(Pairs {
            similarities: Tensor::from_f32(device, &similarities, n)?,
            transposed: Tensor::from_f32(device, &transposed, n)?,
            // e^t = 10 and b = -10, as SigLIP starts.
            temperature: Tensor::from_f32(device, &[10f32.ln(), -10.0], 2)?,
            rows: make(4)?,
            columns: make(4)?,
            losses: device.buffer("losses of pairs", 4 * n as u64)?,
            terms: make(2)?,
        })
    }

    fn temperature(&self) -> Temperature<'_> {
        Temperature { value: &self.temperature, most: 5.0 }
    }

    fn shape(&self) -> String {
        format!("[{n}, {n}] f32", n = self.similarities.rows())
    }

    fn count(&self) -> u64 {
        (self.similarities.rows() * self.similarities.rows()) as u64
    }

    /// Both states of InfoNCE.
    fn softmax(&self, recorder: &mut Recorder) -> Result<()> {
        info_nce::softmax(recorder, self.temperature(), &self.similarities, &self.rows)?;
        info_nce::softmax(recorder, self.temperature(), &self.transposed, &self.columns)
    }
}

/// The softmax of rows and of columns, and what joins the two.
pub(super) fn info_nce(device: &Device, sizes: &Sizes) -> Result<Case> {
    let pairs = Pairs::new(device, sizes)?;
    let (count, result) = (pairs.count(), pairs.losses.clone());
    Ok(Case::kernel(pairs.shape(), (8 * count, 24 * count), (&result, false), move |r| {
        pairs.softmax(r)?;
        let states = (&pairs.rows, &pairs.columns);
        info_nce::terms(r, pairs.temperature(), states, 1.0, (&pairs.losses, &pairs.terms))
    }))
}

/// As [`cross_entropy_backward`], in place.
pub(super) fn info_nce_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let pairs = Pairs::new(device, sizes)?;
    let mut recorder = device.recorder();
    pairs.softmax(&mut recorder)?;
    recorder.submit()?.wait()?;
    let (count, result) = (pairs.count(), pairs.similarities.buffer().clone());
    Ok(Case::kernel(pairs.shape(), (8 * count, 20 * count), (&result, false), move |r| {
        info_nce::backward(r, pairs.temperature(), (&pairs.rows, &pairs.columns), 1.0, &pairs.similarities)
    }))
}

pub(super) fn pair_sigmoid(device: &Device, sizes: &Sizes) -> Result<Case> {
    let pairs = Pairs::new(device, sizes)?;
    let (count, result) = (pairs.count(), pairs.losses.clone());
    Ok(Case::kernel(pairs.shape(), (4 * count, 20 * count), (&result, false), move |r| {
        pair_sigmoid::forward(r, pairs.temperature(), &pairs.similarities, 1.0, (&pairs.losses, &pairs.terms))
    }))
}

/// As [`cross_entropy_backward`], in place.
pub(super) fn pair_sigmoid_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let pairs = Pairs::new(device, sizes)?;
    let (count, result) = (pairs.count(), pairs.similarities.buffer().clone());
    Ok(Case::kernel(pairs.shape(), (8 * count, 12 * count), (&result, false), move |r| {
        pair_sigmoid::backward(r, pairs.temperature(), 1.0, &pairs.similarities)
    }))
}
