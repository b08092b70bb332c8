//! Low-rank additions (LoRA, arXiv 2106.09685) to a decoder's linear layers.

use super::Decoder;
use crate::device::Device;
use crate::host::split_mix::{STEP, SplitMix64, mix, unit};
use crate::io::DecoderConfig;
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

/// The name of all linear layers together, as PEFT has it for its `target_modules`.
pub const ALL_LINEAR: &str = "all-linear";

impl Decoder {
    /// Gives every linear layer a low-rank addition: `A` as PEFT draws it (uniform within `1 / √inputs`, Kaiming's with a = √5),
    /// `B` zero, so that the model computes the same as before. Their names end in `lora_A.weight` and `lora_B.weight`. Projections that the model's files have as one
    /// share their `A`, as PEFT has it.
    ///
    /// # Errors
    /// A rank of 0; additions that are there already; no memory.
    pub fn add_low_rank(&mut self, device: &Device, options: LowRankOptions) -> Result<()> {
        self.add_low_rank_to(device, options, &[])
    }

    /// [`Self::add_low_rank`] to the linear layers of these names alone, as the model's files have them (PEFT's `target_modules`): `q_proj`,
    /// `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`, of Phi-3 `qkv_proj` and `gate_up_proj`. No names, or `all-linear`,
    /// are all.
    ///
    /// # Errors
    /// As there; a name that no linear layer of the model has.
    pub fn add_low_rank_to(&mut self, device: &Device, options: LowRankOptions, targets: &[String]) -> Result<()> {
        if options.rank == 0 || self.rank > 0 {
            return Err(Error::argument("rank", "must be at least 1, and given once"));
        }
        self.check_targets(targets)?;
        let all = targets.is_empty() || targets.iter().any(|target| target == ALL_LINEAR);
        let (rank, scale) = (options.rank, options.alpha / options.rank as f32);
        let parameters = &mut self.parameters;
        let mut stream = 0u64;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            for (name, linear) in layer.linears() {
                let place = stream;
                stream += 1;
                let &[rows, columns] = &parameters.get(linear.weight).shape[..] else {
                    return Err(Error::argument("model", format!("{name} is not a matrix")));
                };
                if !all && !targets.contains(&stored_module(&self.config, index, name)) {
                    continue;
                }
                let name = |part: &str| format!("model.layers.{index}.{name}.{part}.weight");
                let bound = 1.0 / (columns as f64).sqrt();
                let mut random = SplitMix64::new(mix(options.seed.wrapping_add(STEP.wrapping_mul(place))));
                let a: Vec<f32> =
                    (0..rank * columns).map(|_| ((2.0 * unit(random.next()) - 1.0) * bound) as f32).collect();
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

    /// Leaves each element of what low-rank additions read out with this probability while the model trains, and multiplies the others by
    /// `1 / (1 - probability)`: PEFT's `lora_dropout`. To be set before there is work space.
    ///
    /// # Errors
    /// A probability outside 0..1.
    pub fn set_dropout(&mut self, probability: f32) -> Result<()> {
        if !(0.0..1.0).contains(&probability) {
            return Err(Error::argument("dropout", format!("{probability}; give a number from 0 to below 1")));
        }
        self.dropout = probability;
        Ok(())
    }

    /// Refuses a target that no linear layer has.
    fn check_targets(&mut self, targets: &[String]) -> Result<()> {
        let mut known: Vec<String> = Vec::new();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            for (name, _) in layer.linears() {
                let module = stored_module(&self.config, index, name);
                if !known.contains(&module) {
                    known.push(module);
                }
            }
        }
        match targets.iter().find(|target| *target != ALL_LINEAR && !known.contains(target)) {
            None => Ok(()),
            Some(target) => {
                let known = known.join(", ");
                let problem =
                    format!("no linear layer of the model is called {target:?}; there are {known}, and {ALL_LINEAR}");
                Err(Error::argument("low-rank targets", problem))
            }
        }
    }
}

/// What the model's files call a linear layer.
fn stored_module(config: &DecoderConfig, layer: usize, name: &str) -> String {
    let stored = config.stored(&format!("model.layers.{layer}.{name}.weight"), &[1, 1]).name;
    stored.rsplit('.').nth(1).unwrap_or_default().to_owned()
}
