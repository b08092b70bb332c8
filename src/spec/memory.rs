//! What a device's memory is for.

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
    pub const fn remedy(self) -> &'static str {
        match self {
            Purpose::Weights => "hold a frozen model in 16 bits (--weights bf16), or take a smaller one",
            Purpose::Gradients | Purpose::Moments => "train less of the model (--train lora, or --train adapter)",
            Purpose::Activations => "lower --batch-size or --max-length, or pass --recompute",
            Purpose::Backward | Purpose::Head => "lower --batch-size or --max-length",
            Purpose::Cache => "lower --max-tokens, or shorten the prompt",
            Purpose::Data => "make the work smaller (--chunk-rows; in training --batch-size)",
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
