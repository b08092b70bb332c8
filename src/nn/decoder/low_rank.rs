//! Low-rank additions (LoRA, arXiv 2106.09685) to a decoder's linear layers.

use super::Decoder;
use crate::device::Device;
use crate::host::split_mix::{STEP, SplitMix64, mix, unit};
use crate::nn::linear::LowRank;
use crate::{Error, Result};

/// Rank and scale of the additions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRankOptions {
    /// r, at least 1.
    pub rank: usize,
    /// The additions count `alpha / r`.
    pub alpha: f32,
    /// Seed of the matrices A; the matrices B start as zeros.
    pub seed: u64,
}

impl Decoder {
    /// Gives every linear layer a low-rank addition: `A` as PEFT draws it (uniform within `1 / √inputs`, Kaiming's with a = √5),
    /// `B` zero, so that the model computes the same as before. Their names end in `lora_A.weight` and `lora_B.weight`. Projections that the model's files have as one
    /// share their `A`, as PEFT has it.
    ///
    /// # Errors
    /// A rank of 0; additions that are there already; no memory.
    pub fn add_low_rank(&mut self, device: &Device, options: LowRankOptions) -> Result<()> {
        if options.rank == 0 || self.rank > 0 {
            return Err(Error::argument("rank", "must be at least 1, and given once"));
        }
        let (rank, scale) = (options.rank, options.alpha / options.rank as f32);
        let parameters = &mut self.parameters;
        let mut stream = 0u64;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            for (name, linear) in layer.linears() {
                let &[rows, columns] = &parameters.get(linear.weight).shape[..] else {
                    return Err(Error::argument("model", format!("{name} is not a matrix")));
                };
                let name = |part: &str| format!("model.layers.{index}.{name}.{part}.weight");
                let bound = 1.0 / (columns as f64).sqrt();
                let mut random = SplitMix64::new(mix(options.seed.wrapping_add(STEP.wrapping_mul(stream))));
                let a: Vec<f32> =
                    (0..rank * columns).map(|_| ((2.0 * unit(random.next()) - 1.0) * bound) as f32).collect();
                stream += 1;
                let shared = self.config.stored(&name("lora_A"), &[rank, columns]).name;
                let a = match parameters.slot(&shared) {
                    Some(slot) => slot,
                    None => parameters.add(device, &shared, &[rank, columns], &a)?,
                };
                let b = parameters.add(device, &name("lora_B"), &[rows, rank], &vec![0.0; rows * rank])?;
                linear.low_rank = Some(LowRank { a, b, scale });
            }
        }
        self.rank = rank;
        Ok(())
    }
}
