//! What follows on a text's row in folders of sentence-transformers: dense layers and the division by the norm.

use std::path::Path;

use super::load::{Linear, Loader, Then, act};
use crate::device::{Device, Purpose, Recorder, Tensor};
use crate::io::encoder::{Module, Projection};
use crate::io::{TensorFile, Weights};
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

    /// The projection that a safetensors file holds for rows of `width` numbers, and the width behind it.
    ///
    /// # Errors
    /// No such file; no matrix for such rows, or several; a bias of another length.
    pub fn of_file(device: &Device, file: &Path, width: usize) -> Result<(Step, usize)> {
        let tensors = TensorFile::open(file)?;
        let fit = |shape: &[usize]| matches!(shape, [rows, columns] if *rows > 0 && *columns == width);
        let found: Vec<_> = tensors.tensors().iter().filter(|(_, info)| fit(&info.shape)).collect();
        let [(name, info)] = found[..] else {
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            let problem = format!("holds {} matrices of {width} columns {names:?}; one is needed", names.len());
            return Err(Error::format(file, problem));
        };
        let out = info.shape[0];
        let weight = Tensor::from_f32(device, &tensors.read_f32(name, &info.shape)?, width)?;
        let bias = match name.strip_suffix("weight").map(|stem| format!("{stem}bias")) {
            Some(bias) if tensors.tensors().contains_key(&bias) => {
                Some(Tensor::from_f32(device, &tensors.read_f32(&bias, &[out])?, out)?)
            }
            _ => None,
        };
        Ok((Step::Dense(Linear { weight, bias }, None), out))
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
