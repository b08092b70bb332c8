//! What follows on a text's row in folders of sentence-transformers: dense layers and the division by the norm.

use super::load::{Linear, Loader, Then, act};
use crate::device::{Device, Purpose, Recorder, Tensor};
use crate::io::Weights;
use crate::io::encoder::{Module, Projection};
use crate::kernels::nn::gate::Act;
use crate::kernels::nn::unit_rows;
use crate::{ElementType, Error, Result};

/// A step behind pooling.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Dense(Linear, Option<Act>),
    /// The weight that makes a norm of it.
    Normalize(Tensor),
}

impl Step {
    /// The steps that modules behind pooling make of rows of `width` numbers, and the width that they end with.
    ///
    /// # Errors
    /// A layer for another width; tensors that are missing or have another shape.
    pub fn load_all(device: &Device, modules: &[Module], width: usize) -> Result<(Vec<Step>, usize)> {
        let (mut steps, mut width) = (Vec::new(), width);
        for module in modules {
            match module {
                Module::Pooling(_) => {}
                Module::Normalize => steps.push(Step::Normalize(unit_rows::weight(device, width)?)),
                Module::Dense { folder, input, output, bias, activation } => {
                    if *input != width {
                        let problem =
                            format!("field \"in_features\" is {input}, but the rows before it have {width} numbers");
                        return Err(Error::format(folder.join("config.json"), problem));
                    }
                    let weights = Weights::open(folder)?;
                    let mut loader = Loader::new(device, &weights);
                    let linear = loader.linear("linear", [*output, *input], *bias)?;
                    loader.finish("", |_| false)?;
                    steps.push(Step::Dense(linear, activation.map(act)));
                    width = *output;
                }
            }
        }
        Ok((steps, width))
    }

    /// The projection of a tower.
    pub fn projection(loader: &mut Loader<'_>, of: Projection, (prefix, width): (&str, usize)) -> Result<Step> {
        let name = if of.within { format!("{prefix}{}", of.name) } else { of.name.to_owned() };
        Ok(Step::Dense(loader.linear(&name, [of.width, width], of.bias)?, None))
    }

    /// Records the step.
    pub fn forward(&self, recorder: &mut Recorder, x: &Tensor) -> Result<Tensor> {
        let width = match self {
            Step::Dense(linear, _) => linear.weight.rows(),
            Step::Normalize(_) => x.width(),
        };
        let label = (Purpose::Activations, "embeddings");
        let y = Tensor::labelled(recorder.device(), label, (x.rows(), width), ElementType::F32)?;
        match self {
            Step::Dense(linear, act) => linear.forward(recorder, x, (&y, act.map_or(Then::Nothing, Then::Act)))?,
            Step::Normalize(weight) => unit_rows::forward(recorder, x, weight, &y)?,
        }
        Ok(y)
    }
}
