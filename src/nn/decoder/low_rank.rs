//! Low-rank additions (LoRA, arXiv 2106.09685) to a decoder's linear layers.

use super::Decoder;
use crate::device::Device;
use crate::host::gaussian::normals;
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
    /// Gives every linear layer a low-rank addition: `A` normal of standard deviation `1 / r`, `B` zero, so that the model
    /// computes the same as before. Their names end in `lora_A.weight` and `lora_B.weight`. Projections that the model's files have as one
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
        let mut stream = 0;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            for (name, linear) in layer.linears() {
                let &[rows, columns] = &parameters.get(linear.weight).shape[..] else {
                    return Err(Error::argument("model", format!("{name} is not a matrix")));
                };
                let name = |part: &str| format!("model.layers.{index}.{name}.{part}.weight");
                let mut a = normals(rank * columns, options.seed, stream);
                a.iter_mut().for_each(|x| *x /= rank as f32);
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
