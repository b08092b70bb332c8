//! What a device's memory is for.

use crate::error::Remedy;

/// What a buffer is for: errors name it, with what makes it smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Parameters of a model.
    Weights,
    /// Their gradients.
    Gradients,
    /// The optimiser's moments.
    Moments,
    /// Activations that the forward pass writes.
    Activations,
    /// Gradients of activations.
    Backward,
    /// The supervised rows, their logits and gradients.
    Head,
    /// Keys and values of generated tokens.
    Cache,
    /// Rows of data and tables of a batch.
    #[default]
    Data,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Purpose; 8] = [
        Purpose::Weights,
        Purpose::Gradients,
        Purpose::Moments,
        Purpose::Activations,
        Purpose::Backward,
        Purpose::Head,
        Purpose::Cache,
        Purpose::Data,
    ];

    /// As errors name it.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Weights => "weights",
            Purpose::Gradients => "gradients",
            Purpose::Moments => "the optimiser's moments",
            Purpose::Activations => "activations",
            Purpose::Backward => "gradients of activations",
            Purpose::Head => "the loss",
            Purpose::Cache => "cached keys and values",
            Purpose::Data => "data",
        }
    }

    /// What makes such buffers smaller.
    pub const fn remedy(self) -> Remedy {
        match self {
            Purpose::Weights => Remedy::SmallerWeights,
            Purpose::Gradients | Purpose::Moments => Remedy::TrainLess,
            Purpose::Activations => Remedy::FewerActivations,
            Purpose::Backward | Purpose::Head => Remedy::SmallerBatches,
            Purpose::Cache => Remedy::ShorterAnswers,
            Purpose::Data => Remedy::SmallerChunks,
        }
    }
}

/// What a buffer is for, beyond being bound to kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Compute,
    Upload,
    Download,
}
