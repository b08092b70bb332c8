//! How likely a model finds texts.

use crate::device::Device;
use crate::io::Samples;
use crate::train::{Batch, IGNORED, Model, Scorer, VisualInputs};
use crate::{Error, Result};

/// One sample's likelihood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Mean negative log-likelihood of its targets, in nats.
    pub nll: f64,
    /// How many targets it has.
    pub targets: u32,
}

/// Scores all samples, in their order, `batch_size` at a time; `progress` gets the number of samples done with each batch.
///
/// # Errors
/// A loss that is not finite, with its sample; what [`Scorer::losses`] and [`VisualInputs::clean`] report.
pub fn score(
    device: &Device,
    model: &Model,
    (samples, inputs): (&Samples, &mut VisualInputs),
    batch_size: usize,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Score>> {
    let mut scorer = Scorer::new(device, model);
    let mut scores = Vec::with_capacity(samples.len());
    let all: Vec<u32> = (0..samples.len() as u32).collect();
    for numbers in all.chunks(batch_size.max(1)) {
        let batch = Batch::pack(samples, numbers)?;
        let embeddings = inputs.clean(&batch)?;
        let losses = scorer.losses(&batch, &embeddings)?.read_blocking(device)?;
        let mut rest = losses.iter();
        for ((first, count), number) in batch.sequences.iter().zip(numbers) {
            let labels = &batch.labels[*first as usize..(first + count) as usize];
            let targets = labels.iter().filter(|label| **label != IGNORED).count();
            let sum: f64 = rest.by_ref().take(targets).map(|l| f64::from(*l)).sum();
            let nll = sum / targets as f64;
            if !nll.is_finite() {
                let id = samples.get(*number as usize).map_or("", |sample| sample.id);
                let problem = format!("sample {number} ({id:?}) has the loss {nll}; check weights and embeddings");
                return Err(Error::degenerate(problem));
            }
            scores.push(Score { nll, targets: targets as u32 });
        }
        progress(numbers.len());
    }
    inputs.check()?;
    Ok(scores)
}
