//! The parts of a tower from a model's files.

use std::collections::HashSet;

use crate::device::{Device, DeviceKind, Recorder, Tensor};
use crate::io::Weights;
use crate::io::encoder::TowerActivation;
use crate::kernels::linalg::matmul::{Operand, Product};
use crate::kernels::nn::gate::Act;
use crate::kernels::nn::gelu::Form;
use crate::kernels::nn::layer_norm;
pub(super) use crate::nn::linear::Then;
use crate::nn::{Precision, ShardedMatrix, linear};
use crate::{ElementType, Error, Result};

/// The kernel's function.
pub(super) fn act(activation: TowerActivation) -> Act {
    match activation {
        TowerActivation::Silu => Act::Silu,
        TowerActivation::Gelu => Act::Gelu(Form::Erf),
        TowerActivation::GeluTanh => Act::Gelu(Form::Tanh),
        TowerActivation::QuickGelu => Act::Gelu(Form::Quick),
        TowerActivation::Relu => Act::Relu,
        TowerActivation::Tanh => Act::Tanh,
    }
}

/// Tokens of a batch that keep a device busy.
pub(super) fn busy_tokens(device: &Device) -> usize {
    if device.capabilities().kind == DeviceKind::Host { 2048 } else { 16_384 }
}

/// `y = x Wᵀ + b`, with `W` `[out, in]`.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Linear {
    /// Records the layer: `x` `[n, in]`, `y` `[n, out]`.
    pub fn forward(&self, recorder: &mut Recorder, x: &Tensor, (y, then): (&Tensor, Then<'_>)) -> Result<()> {
        linear::record(recorder, Product::default(), (x, Operand::new(&self.weight), self.bias.as_ref()), (y, then))
    }
}

/// LayerNorm.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Norm {
    /// Records `y`, the norm of `x`.
    pub fn forward(&self, recorder: &mut Recorder, x: &Tensor, y: &Tensor) -> Result<()> {
        layer_norm::forward(recorder, self.eps, x, &self.weight, &self.bias, y)
    }
}

/// Where numbers come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Files(&'a Weights),
    /// Of benchmarks: numbers that keep rows at about their size.
    #[cfg(feature = "bench")]
    Random,
}

/// Reads tensors by name, and remembers which.
pub(super) struct Loader<'a> {
    pub device: &'a Device,
    /// What the parts will compute in.
    pub precision: Precision,
    source: Source<'a>,
    known: HashSet<String>,
}

impl<'a> Loader<'a> {
    pub fn new(device: &'a Device, weights: &'a Weights) -> Self {
        Loader { device, precision: Precision::F32, source: Source::Files(weights), known: HashSet::new() }
    }

    /// The same for parts that compute in `precision`.
    pub fn computing_in(self, precision: Precision) -> Self {
        Loader { precision, ..self }
    }

    /// One that makes numbers up.
    #[cfg(feature = "bench")]
    pub fn random(device: &'a Device) -> Self {
        Loader { device, precision: Precision::F32, source: Source::Random, known: HashSet::new() }
    }

    /// All of a tensor of this shape.
    ///
    /// # Errors
    /// No such tensor, another shape, integers; NaN or infinity.
    pub fn numbers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.known.insert(name.to_owned());
        match self.source {
            Source::Files(weights) => weights.read_f32(name, shape),
            #[cfg(feature = "bench")]
            Source::Random => Ok(random(name, shape)),
        }
    }

    /// What a matrix is stored as: f16 for mixed precision; else what it is in its file, but on the host engine, which would widen it for each product,
    /// f32.
    fn element(&self, name: &str, shape: &[usize]) -> Result<ElementType> {
        if self.precision == Precision::Mixed {
            return Ok(ElementType::F16);
        }
        let weights = match self.source {
            Source::Files(weights) if self.device.capabilities().kind != DeviceKind::Host => weights,
            _ => return Ok(ElementType::F32),
        };
        Ok(match weights.expect(name, shape)?.element {
            Some(half @ (ElementType::F16 | ElementType::BF16)) => half,
            _ => ElementType::F32,
        })
    }

    /// A matrix of `[rows, width]` on the device; in the file it has the shape `shape`.
    pub fn matrix(&mut self, name: &str, shape: &[usize], width: usize) -> Result<ShardedMatrix> {
        let numbers = self.numbers(name, shape)?;
        let element = self.element(name, shape)?;
        ShardedMatrix::from_f32(self.device, name, &numbers, width, element)
    }

    /// Numbers as a matrix of the type that the file's tensor `name` has.
    pub fn made(&self, name: &str, shape: &[usize], (numbers, width): (&[f32], usize)) -> Result<Tensor> {
        let element = self.element(name, shape)?;
        single(name, &ShardedMatrix::from_f32(self.device, name, numbers, width, element)?)
    }

    /// A row `[1, width]` in f32.
    pub fn row(&mut self, name: &str, width: usize) -> Result<Tensor> {
        let numbers = self.numbers(name, &[width])?;
        Tensor::from_f32(self.device, &numbers, width)
    }

    /// The layer `name`, `[out, in]`.
    pub fn linear(&mut self, name: &str, [rows, width]: [usize; 2], bias: bool) -> Result<Linear> {
        let weight_name = format!("{name}.weight");
        let weight = self.matrix(&weight_name, &[rows, width], width)?;
        let bias = bias.then(|| self.row(&format!("{name}.bias"), rows)).transpose()?;
        Ok(Linear { weight: single(&weight_name, &weight)?, bias })
    }

    /// The norm `name`.
    pub fn norm(&mut self, name: &str, width: usize, eps: f64) -> Result<Norm> {
        let (weight, bias) = (self.row(&format!("{name}.weight"), width)?, self.row(&format!("{name}.bias"), width)?);
        Ok(Norm { weight, bias, eps: eps as f32 })
    }

    /// Checks that the files hold nothing more below a prefix than what was read, besides what `harmless` says: it would be left out in silence.
    ///
    /// # Errors
    /// Such a tensor, by its name.
    pub fn finish(self, prefix: &str, harmless: impl Fn(&str) -> bool) -> Result<()> {
        let unknown = |name: &&str| {
            let rest = name.strip_prefix(prefix);
            let ids = name.ends_with("position_ids") || name.ends_with("token_type_ids");
            rest.is_some_and(|rest| !harmless(rest)) && !ids && !self.known.contains(*name)
        };
        #[cfg_attr(
            not(feature = "bench"),
            expect(irrefutable_let_patterns, reason = "benchmarks alone have weights from nowhere")
        )]
        let Source::Files(weights) = self.source else { return Ok(()) };
        match weights.names().filter(unknown).min() {
            None => Ok(()),
            Some(name) => {
                let problem = format!("holds tensor {name:?}, which its config.json does not call for");
                Err(Error::format(weights.folder(), format!("{problem}; is this the model's own config.json?")))
            }
        }
    }
}

/// Numbers for benchmarks: norms leave rows as they are, and matrices keep their size.
#[cfg(feature = "bench")]
fn random(name: &str, shape: &[usize]) -> Vec<f32> {
    let (count, rows) = (shape.iter().product::<usize>(), shape.first().copied().unwrap_or(1).max(1));
    if name.to_lowercase().contains("norm") {
        return vec![if name.ends_with("weight") { 1.0 } else { 0.0 }; count];
    }
    let seed = name.bytes().fold(7u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let scale = 1.7 / ((count / rows).max(1) as f32).sqrt();
    crate::tuning::numbers(seed, count).into_iter().map(|x| scale * x).collect()
}

/// The matrix as one tensor.
fn single(name: &str, matrix: &ShardedMatrix) -> Result<Tensor> {
    let several = || Error::shape("encoder", name, "a matrix that one binding holds", "a larger one");
    matrix.single().cloned().ok_or_else(several)
}
