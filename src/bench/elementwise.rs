//! Kernels of neural networks and of the optimiser, losses left out.

use super::case::{Case, Sizes, numbers};
use crate::device::{Device, Recorder, Tensor};
use crate::kernels::nn::dropout::{Mask, record as drop_elements};
use crate::kernels::nn::gate::Act;
use crate::kernels::nn::gelu::{self as gelu_kernels, Form};
use crate::kernels::nn::rotary::{self as rotation, Frequencies};
use crate::kernels::nn::{bias, elementwise as sums, embedding, gate, layer_norm as layer, rms_norm as rms};
use crate::kernels::optim::adamw_8bit::{self as eight_bits, Moments8};
use crate::kernels::optim::{adamw as optimizer, norm as norms};
use crate::{ElementType, Result};

/// Width of a head.
const HEAD: usize = 64;
/// Sequences of a batch are so long.
const LENGTH: usize = 256;

/// A batch's tensors, `[tokens, hidden]`.
struct Batch<'a> {
    device: &'a Device,
    sizes: &'a Sizes,
}

impl Batch<'_> {
    fn filled(&self, seed: u32) -> Result<Tensor> {
        Tensor::from_f32(self.device, &numbers(seed, self.sizes.tokens * self.sizes.hidden), self.sizes.hidden)
    }

    fn empty(&self) -> Result<Tensor> {
        Tensor::new(self.device, self.sizes.tokens, self.sizes.hidden, ElementType::F32)
    }

    fn row(&self, seed: u32) -> Result<Tensor> {
        Tensor::from_f32(self.device, &numbers(seed, self.sizes.hidden), self.sizes.hidden)
    }

    /// A case of so many bytes and FLOPs an element.
    fn case(
        &self,
        (bytes, flops): (u64, u64),
        result: &Tensor,
        record: impl Fn(&mut Recorder) -> Result<()> + 'static,
    ) -> Case {
        let Sizes { tokens, hidden, .. } = *self.sizes;
        let count = (tokens * hidden) as u64;
        let shape = format!("[{tokens}, {hidden}] f32");
        Case::kernel(shape, (bytes * count, flops * count), (&result.buffer().clone(), false), record)
    }
}

pub(super) fn gelu(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, y) = (batch.filled(1)?, batch.empty()?);
    Ok(batch.case((8, 30), &y.clone(), move |r| gelu_kernels::forward(r, Form::Erf, &x, &y)))
}

pub(super) fn gelu_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, dy, dx) = (batch.filled(1)?, batch.filled(2)?, batch.empty()?);
    Ok(batch.case((12, 45), &dx.clone(), move |r| gelu_kernels::backward(r, Form::Erf, &x, &dy, &dx)))
}

pub(super) fn silu_gate(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (a, b, y) = (batch.filled(1)?, batch.filled(2)?, batch.empty()?);
    Ok(batch.case((12, 15), &y.clone(), move |r| gate::forward(r, Act::Silu, &a, &b, &y)))
}

pub(super) fn gelu_gate(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (a, b, y) = (batch.filled(1)?, batch.filled(2)?, batch.empty()?);
    Ok(batch.case((12, 35), &y.clone(), move |r| gate::forward(r, Act::Gelu(Form::Tanh), &a, &b, &y)))
}

pub(super) fn gelu_gate_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (a, b, dy) = (batch.filled(1)?, batch.filled(2)?, batch.filled(3)?);
    let (da, db) = (batch.empty()?, batch.empty()?);
    Ok(batch.case((20, 75), &da.clone(), move |r| gate::backward(r, Act::Gelu(Form::Tanh), &a, &b, &dy, &da, &db)))
}

pub(super) fn silu_gate_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (a, b, dy) = (batch.filled(1)?, batch.filled(2)?, batch.filled(3)?);
    let (da, db) = (batch.empty()?, batch.empty()?);
    Ok(batch.case((20, 20), &da.clone(), move |r| gate::backward(r, Act::Silu, &a, &b, &dy, &da, &db)))
}

pub(super) fn rms_norm(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, w, y) = (batch.filled(1)?, batch.row(4)?, batch.empty()?);
    Ok(batch.case((8, 5), &y.clone(), move |r| rms::forward(r, 1e-5, &x, &w, &y)))
}

/// By the input alone, as where the weight is frozen.
pub(super) fn rms_norm_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, w, dy, dx) = (batch.filled(1)?, batch.row(4)?, batch.filled(2)?, batch.empty()?);
    Ok(batch.case((12, 12), &dx.clone(), move |r| rms::backward(r, 1e-5, &x, &w, &dy, (&dx, false), None)))
}

/// By the input and the weight, whose gradient is what is checked: it is added to, from run to run.
pub(super) fn rms_norm_weight_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, w, dy, dx) = (batch.filled(1)?, batch.row(4)?, batch.filled(2)?, batch.empty()?);
    let dw = Tensor::new(device, 1, sizes.hidden, ElementType::F32)?;
    Ok(batch.case((12, 15), &dw.clone(), move |r| rms::backward(r, 1e-5, &x, &w, &dy, (&dx, false), Some(&dw))))
}

pub(super) fn layer_norm(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, w, y) = (batch.filled(1)?, batch.row(4)?, batch.empty()?);
    Ok(batch.case((8, 8), &y.clone(), move |r| layer::forward(r, 1e-5, &x, &w, &w, &y)))
}

/// By the input, the weight and the bias.
pub(super) fn layer_norm_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, w, dy, dx) = (batch.filled(1)?, batch.row(4)?, batch.filled(2)?, batch.empty()?);
    let row = || Tensor::new(device, 1, sizes.hidden, ElementType::F32);
    let (dw, db) = (row()?, row()?);
    Ok(batch.case((12, 20), &dx.clone(), move |r| {
        layer::backward(r, 1e-5, &x, &w, &dy, (&dx, false), Some(&dw), Some(&db))
    }))
}

pub(super) fn cast(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, y) = (batch.filled(1)?, Tensor::new(device, sizes.tokens, sizes.hidden, ElementType::F16)?);
    let Sizes { tokens, hidden, .. } = *sizes;
    let (count, result) = ((tokens * hidden) as u64, y.buffer().clone());
    let shape = format!("[{tokens}, {hidden}] f32 to f16");
    // Rounded once: every bit must agree.
    Ok(Case::kernel(shape, (6 * count, count), (&result, true), move |r| sums::cast(r, &x, &y)))
}

pub(super) fn add_scaled(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, y, z) = (batch.filled(1)?, batch.filled(2)?, batch.empty()?);
    Ok(batch.case((12, 2), &z.clone(), move |r| sums::add_scaled(r, &x, 0.22, &y, &z)))
}

/// To rows of single heads.
pub(super) fn split_heads(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (heads, x) = (sizes.hidden / HEAD, batch.filled(1)?);
    let y = Tensor::new(device, sizes.tokens * heads, HEAD, ElementType::F32)?;
    let Sizes { tokens, hidden, .. } = *sizes;
    let (count, result) = ((tokens * hidden) as u64, y.buffer().clone());
    let shape = format!("[{tokens}, {heads} x {HEAD}]");
    Ok(Case::kernel(shape, (8 * count, 0), (&result, true), move |r| sums::split_heads(r, heads, &x, &y)))
}

/// To what grows from run to run, and stays in range.
pub(super) fn add(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, y) = (batch.filled(1)?, batch.filled(2)?);
    Ok(batch.case((12, 1), &y.clone(), move |r| sums::add(r, &x, &y)))
}

/// By -1: sizes stay the same from run to run.
pub(super) fn scale(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let y = batch.filled(1)?;
    Ok(batch.case((8, 1), &y.clone(), move |r| sums::scale(r, -1.0, &y)))
}

pub(super) fn dropout(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, y) = (batch.filled(1)?, batch.empty()?);
    let words = |of: &dyn Fn(usize) -> usize| -> Result<_> {
        let words: Vec<u32> = (0..sizes.tokens).map(|i| of(i) as u32).collect();
        device.buffer_from("places", bytemuck::cast_slice(&words))
    };
    let (positions, samples) = (words(&|i| i % LENGTH)?, words(&|i| i / LENGTH)?);
    Ok(batch.case((8, 40), &y.clone(), move |r| {
        let mask = Mask { positions: &positions, samples: &samples, module: 1, key: [2, 3], probability: 0.1 };
        drop_elements(r, mask, 1.0, &x, (&y, false))
    }))
}

/// In place: rows are turned further from run to run.
pub(super) fn rotary(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, heads) = (batch.filled(1)?, sizes.hidden / HEAD);
    let frequencies = Frequencies::new(device, HEAD, 10_000.0, None)?;
    let positions: Vec<u32> = (0..sizes.tokens).map(|i| (i % LENGTH) as u32).collect();
    let positions = device.buffer_from("positions", bytemuck::cast_slice(&positions))?;
    Ok(batch.case((8, 20), &x.clone(), move |r| rotation::record(r, &frequencies, &positions, heads, &x, false)))
}

/// Of parts of heads that are no whole vectors, element by element.
pub(super) fn rotary_of_parts(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (x, heads) = (batch.filled(1)?, sizes.hidden / HEAD);
    let turning: Vec<f64> = (0..HEAD / 4 + 2).map(|j| 0.7f64.powi(j as i32)).collect();
    let frequencies = Frequencies::of(device, HEAD, &turning, 1.0)?;
    let positions: Vec<u32> = (0..sizes.tokens).map(|i| (i % LENGTH) as u32).collect();
    let positions = device.buffer_from("positions", bytemuck::cast_slice(&positions))?;
    Ok(batch.case((8, 20), &x.clone(), move |r| rotation::record(r, &frequencies, &positions, heads, &x, false)))
}

pub(super) fn bias_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (dy, db) = (batch.filled(1)?, Tensor::new(device, 1, sizes.hidden, ElementType::F32)?);
    Ok(batch.case((4, 1), &db.clone(), move |r| bias::backward(r, &dy, &db, false)))
}

pub(super) fn gather(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (table, y) = (batch.filled(1)?, batch.empty()?);
    let ids: Vec<u32> = (0..sizes.tokens as u32).map(|i| i * 37 % sizes.tokens as u32).collect();
    let ids = device.buffer_from("ids", bytemuck::cast_slice(&ids))?;
    Ok(batch.case((8, 0), &y.clone(), move |r| embedding::gather(r, &table, None, &ids, &y)))
}

/// To a table where every id was met twice; it is added to, from run to run.
pub(super) fn scatter(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let rows = sizes.tokens.div_ceil(2);
    let (dx, table) = (batch.filled(1)?, Tensor::new(device, rows, sizes.hidden, ElementType::F32)?);
    let ids: Vec<u32> = (0..sizes.tokens).map(|i| (i * 37 % rows) as u32).collect();
    let plan = embedding::ScatterPlan::new(device, &ids)?;
    // A gradient is read, and half a row of the table read and written.
    Ok(batch.case((8, 1), &table.clone(), move |r| embedding::scatter(r, &plan, &dx, Some(&table), None)))
}

pub(super) fn norm(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let (g, partials) = (batch.filled(1)?, norms::partials(device, 1)?);
    let out = device.buffer("clip", 8)?;
    let count = (sizes.tokens * sizes.hidden) as u64;
    let shape = format!("[{}, {}] f32", sizes.tokens, sizes.hidden);
    Ok(Case::kernel(shape, (4 * count, 2 * count), (&out.clone(), false), move |r| {
        norms::square_sum(r, &g, &partials, 0)?;
        norms::clip(r, &partials, Some(1.0), 1.0, &out)
    }))
}

/// Parameters and moments keep moving from run to run, as they do in training: its result is checked by the tests alone.
pub(super) fn adamw(device: &Device, sizes: &Sizes) -> Result<Case> {
    let batch = Batch { device, sizes };
    let hyper = optimizer::Hyper { lr: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1 };
    let scale = device.buffer_from("scale", &1f32.to_le_bytes())?;
    let (p, g, m, v) = (batch.filled(1)?, batch.filled(2)?, batch.empty()?, batch.empty()?);
    let case = batch.case((28, 15), &p.clone(), move |r| optimizer::step(r, &hyper, &scale, &p, &g, &m, &v));
    Ok(Case { check: None, ..case })
}

/// As [`adamw`], with moments in 8 bits.
pub(super) fn adamw_8bit(device: &Device, sizes: &Sizes) -> Result<Case> {
    adamw_8bit_on(device, sizes, ElementType::F32, 16)
}

/// The same on parameters in bf16, rounded stochastically.
pub(super) fn adamw_8bit_bf16(device: &Device, sizes: &Sizes) -> Result<Case> {
    adamw_8bit_on(device, sizes, ElementType::BF16, 12)
}

fn adamw_8bit_on(device: &Device, sizes: &Sizes, element: ElementType, bytes: u64) -> Result<Case> {
    let batch = Batch { device, sizes };
    let hyper = optimizer::Hyper { lr: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1 };
    let scale = device.buffer_from("scale", &1f32.to_le_bytes())?;
    let (p, g) = (Tensor::new(device, sizes.tokens, sizes.hidden, element)?, batch.filled(2)?);
    p.write_f32(device, &numbers(1, sizes.tokens * sizes.hidden))?;
    let (moments, rounding) = (Moments8::zeros(device, &p)?, optimizer::Rounding::default());
    let case = batch
        .case((bytes, 100), &p.clone(), move |r| eight_bits::step(r, &hyper, (&scale, rounding), (&p, &g), &moments));
    Ok(Case { check: None, ..case })
}
