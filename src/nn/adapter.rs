//! The adapter: from an embedding to the decoder's input space [paper section 5]. `linear`, or `mlpNx_gelu`: N linear
//! layers with the exact GELU between them; names as LLaVA and Bunny have them.

use super::linear::{Linear, Then};
use super::parameters::{Gradients, Parameters};
use crate::device::{Device, Purpose, Recorder, Tensor, block_on};
use crate::io::{AdapterKind, AdapterLayer, AdapterWeights};
use crate::kernels::nn::gelu::{self, Form};
use crate::{ElementType, Error, Result, host};

/// Fresh numbers for an adapter from width `inputs` to `hidden`, as PyTorch starts its linear layers: all uniform within
/// `1 / sqrt(columns)`. A seed's numbers are the same everywhere.
pub fn fresh(kind: AdapterKind, inputs: usize, hidden: usize, seed: u64) -> AdapterWeights {
    let mut stream = 0;
    let mut uniform = |count: usize, bound: f32| {
        stream += 1;
        host::gaussian::uniforms(count, seed, stream).into_iter().map(|u| bound * (2.0 * u - 1.0)).collect()
    };
    let layer = |i: usize| {
        let inputs = if i == 0 { inputs } else { hidden };
        let bound = 1.0 / (inputs as f32).sqrt();
        let weight = uniform(hidden * inputs, bound);
        AdapterLayer { inputs, outputs: hidden, weight, bias: uniform(hidden, bound) }
    };
    AdapterWeights { kind, layers: (0..kind.depth()).map(layer).collect(), notes: Default::default() }
}

/// An adapter: `[m, d]` embeddings to `[m, h]` visual tokens.
#[derive(Clone, Debug)]
pub struct Adapter {
    kind: AdapterKind,
    input: usize,
    output: usize,
    layers: Vec<Linear>,
    unit_rows: Option<bool>,
    /// Its parameters.
    pub parameters: Parameters,
}

/// Activations of one adapter pass over at most `rows` embeddings, kept for the backward pass.
#[derive(Clone, Debug)]
pub struct AdapterSpace {
    /// Outputs of the linear layers, `[rows, h]`.
    linear: Vec<Tensor>,
    /// Their GELU, all but the last.
    active: Vec<Tensor>,
    /// Gradient of an activation, and of the layer before it.
    gradients: [Tensor; 2],
}

impl AdapterSpace {
    /// Room for `rows` embeddings.
    ///
    /// # Errors
    /// No memory.
    pub fn new(device: &Device, adapter: &Adapter, rows: usize) -> Result<Self> {
        let make = |purpose| Tensor::labelled(device, (purpose, "adapter"), (rows, adapter.output), ElementType::F32);
        let many = |n: usize| (0..n).map(|_| make(Purpose::Activations)).collect::<Result<Vec<_>>>();
        let n = adapter.layers.len();
        let gradients = [make(Purpose::Backward)?, make(Purpose::Backward)?];
        Ok(AdapterSpace { linear: many(n)?, active: many(n - 1)?, gradients })
    }

    /// The same for the first `rows` embeddings.
    ///
    /// # Errors
    /// More rows than there is room for.
    pub fn first_rows(&self, rows: usize) -> Result<Self> {
        let all = |list: &[Tensor]| list.iter().map(|t| t.first_rows(rows)).collect::<Result<Vec<_>>>();
        let [a, b] = &self.gradients;
        Ok(AdapterSpace {
            linear: all(&self.linear)?,
            active: all(&self.active)?,
            gradients: [a.first_rows(rows)?, b.first_rows(rows)?],
        })
    }

    /// The visual tokens that the forward pass wrote, `[rows, h]`.
    pub fn output(&self) -> &Tensor {
        // Invariant: an adapter has at least one layer.
        &self.linear[self.linear.len() - 1]
    }
}

impl Adapter {
    /// An adapter of given numbers.
    ///
    /// # Errors
    /// Layers that do not fit each other; no memory.
    pub fn new(device: &Device, weights: &AdapterWeights) -> Result<Self> {
        let (kind, mut parameters) = (weights.kind, Parameters::default());
        if weights.layers.len() != kind.depth() {
            return Err(Error::shape("adapter", "layers", kind.depth(), weights.layers.len()));
        }
        let mut layers = Vec::new();
        for (i, layer) in weights.layers.iter().enumerate() {
            let shape = [layer.outputs, layer.inputs];
            let weight = parameters.add(device, &kind.tensor_name(i, "weight"), &shape, &layer.weight)?;
            let bias = parameters.add(device, &kind.tensor_name(i, "bias"), &shape[..1], &layer.bias)?;
            layers.push(Linear { weight, bias: Some(bias), low_rank: None, input_factor: 1.0 });
        }
        let (input, output, unit_rows) = (weights.inputs(), weights.outputs(), weights.unit_rows());
        Ok(Adapter { kind, input, output, layers, unit_rows, parameters })
    }

    /// Reads the numbers back, for a file.
    ///
    /// # Errors
    /// The device was lost.
    pub fn weights_blocking(&self, device: &Device) -> Result<AdapterWeights> {
        block_on(device, self.weights(device))
    }

    /// As [`Self::weights_blocking`], without waiting: see [`Device::read`].
    ///
    /// # Errors
    /// The device was lost.
    pub async fn weights(&self, device: &Device) -> Result<AdapterWeights> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let parameter = self.parameters.get(layer.weight);
            let (outputs, inputs) = (parameter.shape[0], parameter.shape[1]);
            let weight = parameter.value.to_f32(device).await?;
            let bias = match layer.bias {
                Some(bias) => self.parameters.get(bias).value.to_f32(device).await?,
                None => Vec::new(),
            };
            layers.push(AdapterLayer { inputs, outputs, weight, bias });
        }
        let mut weights = AdapterWeights { kind: self.kind, layers, notes: Default::default() };
        self.unit_rows.into_iter().for_each(|unit| weights.set_unit_rows(unit));
        Ok(weights)
    }

    /// Whether it learnt from rows of length 1: see [`AdapterWeights::unit_rows`].
    pub fn unit_rows(&self) -> Option<bool> {
        self.unit_rows
    }

    /// The shape.
    pub fn kind(&self) -> AdapterKind {
        self.kind
    }

    /// Width of the embeddings.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Width of the visual tokens.
    pub fn output(&self) -> usize {
        self.output
    }

    /// Records the forward pass over `x` `[m, d]`; the result is the space's [`AdapterSpace::output`].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, recorder: &mut Recorder, x: &Tensor, space: &AdapterSpace) -> Result<()> {
        for (i, layer) in self.layers.iter().enumerate() {
            let input = if i == 0 { x } else { &space.active[i - 1] };
            let (linear, active) = (&space.linear[i], space.active.get(i));
            let to = active.map_or((linear, Then::Nothing), |active| (active, Then::Gelu(Form::Erf, linear)));
            layer.forward_then(recorder, &self.parameters, input, to, None)?;
        }
        Ok(())
    }

    /// Records the backward pass: `dy` `[m, h]` is the gradient of the output; gradients of the parameters are added to
    /// `gradients`, that of the input is written to `dx` `[m, d]` if it is asked for.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        (x, dy): (&Tensor, &Tensor),
        space: &AdapterSpace,
        dx: Option<&Tensor>,
    ) -> Result<()> {
        let [active, linear] = &space.gradients;
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let last = i + 1 == self.layers.len();
            let dy = if last { dy } else { linear };
            let input = if i == 0 { x } else { &space.active[i - 1] };
            let to = if i == 0 { dx } else { Some(active) };
            let both = (&self.parameters, gradients);
            layer.backward(recorder, both, (input, dy), to.map(|dx| (dx, false)), None)?;
            if i > 0 {
                gelu::backward(recorder, Form::Erf, &space.linear[i - 1], active, linear)?;
            }
        }
        Ok(())
    }
}
