//! The adapter: from an embedding to the decoder's input space [paper section 5]. `linear`, or `mlpNx_gelu`: N linear
//! layers with the exact GELU between them; names as LLaVA and Bunny have them.

use super::linear::Linear;
use super::parameters::{Gradients, Parameters};
use crate::device::{Device, Recorder, Tensor};
use crate::kernels::nn::gelu::{self, Form};
use crate::{ElementType, Error, Result};

/// Shape of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterKind {
    /// One linear layer.
    Linear,
    /// That many linear layers with GELU between them, at least 2.
    Mlp(usize),
}

impl AdapterKind {
    /// From `linear` or `mlpNx_gelu`.
    ///
    /// # Errors
    /// Another name.
    pub fn parse(name: &str) -> Result<Self> {
        let layers = name.strip_prefix("mlp").and_then(|n| n.strip_suffix("x_gelu")).map(str::parse::<usize>);
        match (name, layers) {
            ("linear", _) => Ok(AdapterKind::Linear),
            (_, Some(Ok(1))) => Ok(AdapterKind::Linear),
            (_, Some(Ok(layers @ 2..=16))) => Ok(AdapterKind::Mlp(layers)),
            _ => Err(Error::argument("adapter", format!("{name}; use linear or mlp2x_gelu (mlpNx_gelu, N up to 16)"))),
        }
    }

    /// The number of linear layers.
    pub fn layers(self) -> usize {
        match self {
            AdapterKind::Linear => 1,
            AdapterKind::Mlp(layers) => layers,
        }
    }

    /// The layers' names in files: `model.mm_projector`, or `model.mm_projector.0`, `.2`, ...
    pub fn layer_names(self) -> Vec<String> {
        match self {
            AdapterKind::Linear => vec!["model.mm_projector".to_owned()],
            AdapterKind::Mlp(layers) => (0..layers).map(|i| format!("model.mm_projector.{}", 2 * i)).collect(),
        }
    }
}

impl std::fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AdapterKind::Linear => f.write_str("linear"),
            AdapterKind::Mlp(layers) => write!(f, "mlp{layers}x_gelu"),
        }
    }
}

/// An adapter: `[m, d]` embeddings to `[m, h]` visual tokens.
#[derive(Clone, Debug)]
pub struct Adapter {
    kind: AdapterKind,
    input: usize,
    output: usize,
    layers: Vec<Linear>,
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
        let make = || Tensor::new(device, rows, adapter.output, ElementType::F32);
        let many = |n: usize| (0..n).map(|_| make()).collect::<Result<Vec<_>>>();
        let n = adapter.layers.len();
        Ok(AdapterSpace { linear: many(n)?, active: many(n - 1)?, gradients: [make()?, make()?] })
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
    /// An adapter whose parameters `load` gives by name and shape, row-major.
    ///
    /// # Errors
    /// What `load` says; shapes that do not fit; no memory.
    pub fn new(
        device: &Device,
        kind: AdapterKind,
        (input, output): (usize, usize),
        mut load: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let mut parameters = Parameters::default();
        let mut layers = Vec::new();
        for (i, name) in kind.layer_names().into_iter().enumerate() {
            let columns = if i == 0 { input } else { output };
            let mut add = |suffix: &str, shape: &[usize]| {
                let name = format!("{name}.{suffix}");
                let data = load(&name, shape)?;
                parameters.add(device, &name, shape, &data)
            };
            let weight = add("weight", &[output, columns])?;
            layers.push(Linear { weight, bias: Some(add("bias", &[output])?), low_rank: None });
        }
        Ok(Adapter { kind, input, output, layers, parameters })
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
            layer.forward(recorder, &self.parameters, input, &space.linear[i], None)?;
            if let Some(active) = space.active.get(i) {
                gelu::forward(recorder, Form::Erf, &space.linear[i], active)?;
            }
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
