//! Networks of linear layers with the exact GELU between them: as numbers, and on a device, where they are trained.

use super::options::MAX_HIDDEN;
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::geometry::dense;
use crate::host::gaussian::uniforms;
use crate::host::nn::gelu::forward as gelu_rows;
use crate::kernels::linalg::epilogue::Epilogue;
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::nn::bias;
use crate::kernels::nn::gate::Act;
use crate::kernels::nn::gelu::{self, Form};
use crate::kernels::optim::adamw::{self, Hyper};
use crate::kernels::optim::norm;
use crate::{ElementType, Error, Result};

/// A linear layer, `W x + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// W, `[out, in]`, row-major.
    pub weight: Vec<f64>,
    /// b, `[out]`.
    pub bias: Vec<f64>,
}

/// Linear layers with the exact GELU between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// In the order in which they are applied.
    pub layers: Vec<Layer>,
}

impl Network {
    /// Fresh numbers for layers of these widths, input first: uniform within `1 / sqrt(in)`, as PyTorch starts its linear layers; of `quiet` networks the last
    /// layer is 0. A seed's numbers are the same everywhere; each of a seed's networks has its own `stream`.
    pub(super) fn fresh(widths: &[usize], quiet: bool, (seed, stream): (u64, u64)) -> Network {
        let layer = |(i, width): (usize, &[usize])| {
            let (inputs, outputs) = (width[0], width[1]);
            let bound = 1.0 / (inputs as f32).sqrt();
            let numbers = |count: usize, which: u64| -> Vec<f64> {
                if quiet && i + 2 == widths.len() {
                    return vec![0.0; count];
                }
                let numbers = uniforms(count, seed, stream + 2 * i as u64 + which);
                numbers.into_iter().map(|u| f64::from(bound * (2.0 * u - 1.0))).collect()
            };
            Layer { weight: numbers(inputs * outputs, 0), bias: numbers(outputs, 1) }
        };
        Network { layers: widths.windows(2).enumerate().map(layer).collect() }
    }

    /// Widths of the layers' outputs, the input's first.
    pub fn widths(&self) -> Vec<usize> {
        let first = self.layers.first().map_or(0, |layer| layer.weight.len() / layer.bias.len().max(1));
        std::iter::once(first).chain(self.layers.iter().map(|layer| layer.bias.len())).collect()
    }

    /// Refuses layers that do not fit each other, and a network of another width or of other layers than a caller needs.
    pub(super) fn check(&self, layers: usize, (inputs, outputs): (usize, usize)) -> Result<()> {
        let widths = self.widths();
        let fits = widths.windows(2).zip(&self.layers).all(|(width, layer)| {
            let square = width[0].checked_mul(width[1]);
            width[1] > 0 && Some(layer.weight.len()) == square
        });
        let hidden = widths.get(1..widths.len() - 1).unwrap_or(&[]);
        let most = hidden.iter().all(|&width| width <= MAX_HIDDEN);
        if fits && most && widths.len() == layers + 1 && widths[0] == inputs && widths[layers] == outputs {
            return Ok(());
        }
        let want = format!("{layers} layers from width {inputs} to {outputs}, that fit each other");
        Err(Error::shape("apply", "network", want, format!("widths {widths:?}")))
    }

    /// The outputs `[n, out]` of rows `[n, in]`, in f64.
    pub(super) fn apply(&self, rows: Vec<f64>, n: usize) -> Vec<f64> {
        let mut rows = rows;
        for (i, layer) in self.layers.iter().enumerate() {
            let (inputs, outputs) = (rows.len() / n.max(1), layer.bias.len());
            let mut next = vec![0.0; n * outputs];
            let weight = dense::view(&layer.weight, outputs, inputs);
            dense::product_into(dense::view(&rows, n, inputs), weight.transpose(), &mut next);
            for row in next.chunks_exact_mut(outputs) {
                row.iter_mut().zip(&layer.bias).for_each(|(x, b)| *x += b);
            }
            rows = next;
            if i + 1 < self.layers.len() {
                let before = rows.clone();
                gelu_rows(Form::Erf, &before, &mut rows);
            }
        }
        rows
    }

    /// On a device, in f32.
    pub(super) fn on(&self, device: &Device) -> Result<NetworkOn> {
        let single = |values: &[f64], width| {
            let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
            Tensor::from_f32(device, &values, width)
        };
        let layer = |layer: &Layer| {
            let inputs = layer.weight.len() / layer.bias.len().max(1);
            Ok(Pair { weight: single(&layer.weight, inputs)?, bias: single(&layer.bias, layer.bias.len())? })
        };
        Ok(NetworkOn { layers: self.layers.iter().map(layer).collect::<Result<_>>()? })
    }
}

/// Numbers of a layer's shape.
#[derive(Clone, Debug)]
struct Pair {
    weight: Tensor,
    /// `[1, out]`.
    bias: Tensor,
}

/// A network on a device.
#[derive(Clone, Debug)]
pub(super) struct NetworkOn {
    layers: Vec<Pair>,
}

/// What a forward pass keeps for the backward pass, and room for gradients: of each layer but the last, `[n, out]`.
#[derive(Debug)]
pub(super) struct Trace {
    before: Vec<Tensor>,
    after: Vec<Tensor>,
    gradients: [Vec<Tensor>; 2],
}

fn zeros(device: &Device, rows: usize, width: usize) -> Result<Tensor> {
    Tensor::new(device, rows, width, ElementType::F32)
}

impl NetworkOn {
    /// Room for `rows` rows.
    pub fn trace(&self, device: &Device, rows: usize) -> Result<Trace> {
        let hidden = &self.layers[..self.layers.len() - 1];
        let room = || hidden.iter().map(|layer| zeros(device, rows, layer.bias.width())).collect::<Result<Vec<_>>>();
        Ok(Trace { before: room()?, after: room()?, gradients: [room()?, room()?] })
    }

    /// Records the outputs of `x`, plus a residual, and keeps what the backward pass reads.
    pub fn forward(
        &self,
        recorder: &mut Recorder,
        (x, trace): (&Tensor, &Trace),
        (out, residual): (&Tensor, Option<&Tensor>),
    ) -> Result<()> {
        for (i, layer) in self.layers.iter().enumerate() {
            let (input, bias) = (if i == 0 { x } else { &trace.after[i - 1] }, Some(&layer.bias));
            let (epilogue, to) = match trace.before.get(i) {
                Some(before) => (Epilogue::Gelu { form: Form::Erf, bias, before }, &trace.after[i]),
                None => (Epilogue::Add { bias, residual }, out),
            };
            let operands = (Operand::new(input), Operand::new(&layer.weight).transposed());
            matmul::record_fused(recorder, Product::default(), epilogue, operands, (to, 0))?;
        }
        Ok(())
    }

    /// Records the outputs of `x`, of which nothing is kept.
    pub fn infer(&self, recorder: &mut Recorder, x: &Tensor, out: &Tensor) -> Result<()> {
        let device = recorder.device().clone();
        let mut input = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let bias = Some(&layer.bias);
            let (epilogue, to) = match i + 1 < self.layers.len() {
                true => {
                    let hidden = zeros(&device, x.rows(), layer.bias.width())?;
                    (Epilogue::Act { act: Act::Gelu(Form::Erf), bias }, hidden)
                }
                false => (Epilogue::Add { bias, residual: None }, out.clone()),
            };
            let operands = (Operand::new(&input), Operand::new(&layer.weight).transposed());
            matmul::record_fused(recorder, Product::default(), epilogue, operands, (&to, 0))?;
            input = to;
        }
        Ok(())
    }

    /// Records the gradients of the network's own numbers.
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        (x, trace): (&Tensor, &Trace),
        dout: &Tensor,
        gradients: &NetworkOn,
    ) -> Result<()> {
        let mut dy = dout;
        for i in (0..self.layers.len()).rev() {
            let (input, gradient) = (if i == 0 { x } else { &trace.after[i - 1] }, &gradients.layers[i]);
            let operands = (Operand::new(dy).transposed(), Operand::new(input));
            matmul::record(recorder, Product::default(), operands, (&gradient.weight, 0))?;
            bias::backward(recorder, dy, &gradient.bias, false)?;
            if i > 0 {
                dy = self.step_back(recorder, trace, (i, 1.0), dy)?;
            }
        }
        Ok(())
    }

    /// Records the gradient of the input alone, times `alpha`: of a network that is frozen.
    pub fn backward_input(
        &self,
        recorder: &mut Recorder,
        trace: &Trace,
        (dout, alpha): (&Tensor, f32),
        dx: &Tensor,
    ) -> Result<()> {
        let (mut dy, mut alpha) = (dout, alpha);
        for i in (1..self.layers.len()).rev() {
            dy = self.step_back(recorder, trace, (i, alpha), dy)?;
            alpha = 1.0;
        }
        let operands = (Operand::new(dy), Operand::new(&self.layers[0].weight));
        matmul::record(recorder, Product { alpha, ..Product::default() }, operands, (dx, 0))
    }

    /// From the gradient of layer `i`'s output to that of the output before GELU of the layer before it.
    fn step_back<'a>(
        &self,
        recorder: &mut Recorder,
        trace: &'a Trace,
        (i, alpha): (usize, f32),
        dy: &Tensor,
    ) -> Result<&'a Tensor> {
        let [after, before] = [&trace.gradients[0][i - 1], &trace.gradients[1][i - 1]];
        let operands = (Operand::new(dy), Operand::new(&self.layers[i].weight));
        matmul::record(recorder, Product { alpha, ..Product::default() }, operands, (after, 0))?;
        gelu::backward(recorder, Form::Erf, &trace.before[i - 1], after, before)?;
        Ok(before)
    }

    /// Zeros of the network's shapes.
    pub fn zeros_like(&self, device: &Device) -> Result<NetworkOn> {
        let pair = |pair: &Pair| {
            let of = |t: &Tensor| zeros(device, t.rows(), t.width());
            Ok(Pair { weight: of(&pair.weight)?, bias: of(&pair.bias)? })
        };
        Ok(NetworkOn { layers: self.layers.iter().map(pair).collect::<Result<_>>()? })
    }

    /// Of each layer the weight, then the bias.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.layers.iter().flat_map(|pair| [&pair.weight, &pair.bias])
    }

    /// The numbers, waiting for them.
    pub fn read(&self, device: &Device) -> Result<Network> {
        let wide = |tensor: &Tensor| -> Result<Vec<f64>> {
            Ok(tensor.to_f32_blocking(device)?.into_iter().map(f64::from).collect())
        };
        let layer = |pair: &Pair| Ok(Layer { weight: wide(&pair.weight)?, bias: wide(&pair.bias)? });
        Ok(Network { layers: self.layers.iter().map(layer).collect::<Result<_>>()? })
    }
}

/// Largest norm of a gradient.
const MAX_NORM: f32 = 1.0;
/// The first step's rate, from where it goes to 0 by half a cosine.
const RATE: f64 = 1e-3;

/// AdamW without decay for one network.
#[derive(Debug)]
pub(super) struct Optimiser {
    pub gradients: NetworkOn,
    pub moments: [NetworkOn; 2],
    partials: Buffer,
    scale: Buffer,
}

impl Optimiser {
    /// With moments of a training that went on, or of 0.
    pub fn new(device: &Device, network: &NetworkOn, moments: Option<&[Network; 2]>) -> Result<Self> {
        let moments = match moments {
            Some([m, v]) => [m.on(device)?, v.on(device)?],
            None => [network.zeros_like(device)?, network.zeros_like(device)?],
        };
        let partials = norm::partials(device, network.tensors().count())?;
        let scale = device.buffer("gradient scale", 8)?;
        Ok(Optimiser { gradients: network.zeros_like(device)?, moments, partials, scale })
    }

    /// Records step `step` of `steps`, counted from 0, of the gradients times `factor`.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        network: &NetworkOn,
        (step, steps): (u64, u64),
        factor: f32,
    ) -> Result<()> {
        for (slot, gradient) in self.gradients.tensors().enumerate() {
            norm::square_sum(recorder, gradient, &self.partials, slot)?;
        }
        norm::clip(recorder, &self.partials, Some(MAX_NORM), factor, &self.scale)?;
        let lr = RATE * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
        let hyper = Hyper { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: step + 1 };
        let [m, v] = &self.moments;
        let moments = m.tensors().zip(v.tensors());
        for ((p, g), (m, v)) in network.tensors().zip(self.gradients.tensors()).zip(moments) {
            adamw::step(recorder, &hyper, &self.scale, p, g, m, v)?;
        }
        Ok(())
    }
}
