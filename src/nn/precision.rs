//! The types that a model computes in.

use std::str::FromStr;

use crate::device::Device;
use crate::tuning::tensor_cores_agree;
use crate::{ElementType, Error};

/// In which types a model is stored and computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Everything in f32, but for frozen weights that are stored in 16 bits.
    #[default]
    F32,
    /// f16 for the weights of the decoder's products, their inputs, and the activations that the backward pass reads; f32 for the residual
    /// stream, sums, softmax, losses, the gradients of parameters, the optimiser, and all of the adapter, which is small.
    Mixed,
}

impl Precision {
    /// What training takes where nobody says: [`Precision::Mixed`] on a device whose tensor cores were asked for
    /// ([`DeviceOptions::tensor_cores`](crate::device::DeviceOptions)) and, tried on small products and attentions, compute what its other kernels do;
    /// [`Precision::F32`] elsewhere.
    pub fn for_training(device: &Device) -> Precision {
        match tensor_cores_agree(device) {
            Ok(true) => Precision::Mixed,
            Ok(false) => Precision::F32,
            Err(error) => {
                log::warn!("{}: the trial of its tensor cores failed, none are used: {error}", device.name());
                Precision::F32
            }
        }
    }

    /// The name that callers choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Mixed => "mixed",
        }
    }

    /// The type of what products read and of the activations that are kept.
    pub const fn activations(self) -> ElementType {
        match self {
            Precision::F32 => ElementType::F32,
            Precision::Mixed => ElementType::F16,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "f32" => Ok(Precision::F32),
            "mixed" => Ok(Precision::Mixed),
            other => Err(Error::argument("precision", format!("{other:?} is unknown; choose f32 or mixed"))),
        }
    }
}
