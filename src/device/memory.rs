//! What a device's memory is for, and how much of it is taken.

use std::sync::atomic::{AtomicU64, Ordering};

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

/// Bytes of a device's buffers: without staging buffers, and without the textures that stand for operands on some drivers.
#[derive(Debug)]
pub(crate) struct Ledger {
    taken: [AtomicU64; Purpose::ALL.len()],
    total: AtomicU64,
    peak: AtomicU64,
    /// Most that may be taken.
    pub limit: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger { taken: Default::default(), total: AtomicU64::new(0), peak: AtomicU64::new(0), limit: u64::MAX }
    }
}

impl Ledger {
    /// Takes `bytes`, if that stays within the limit.
    pub fn take(&self, purpose: Purpose, bytes: u64) -> bool {
        let within = |total: u64| total.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let Ok(before) = self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) else { return false };
        self.peak.fetch_max(before + bytes, Ordering::Relaxed);
        self.taken[purpose as usize].fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Gives them back.
    pub fn give(&self, purpose: Purpose, bytes: u64) {
        self.taken[purpose as usize].fetch_sub(bytes, Ordering::Relaxed);
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn taken(&self, purpose: Purpose) -> u64 {
        self.taken[purpose as usize].load(Ordering::Relaxed)
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}
