//! A run to and from its checkpoints.

use serde_json::{Map, Value, json};

use super::checkpoint::{Checkpoint, RunState};
use super::fingerprint;
use super::run::Run;
use super::saving::{IN_FLIGHT, Saving, Source};
use crate::device::Buffer;
use crate::io::fingerprint::{Fingerprint, check};
use crate::io::{TensorFile, TensorSpec};
use crate::nn::Parameter;
use crate::optim::{Content, LossScale};
use crate::{Error, Result};

impl Run {
    /// Parameters that train, with what the optimiser keeps of each, under the names that a checkpoint has for them.
    fn training(&self) -> Vec<(Parameter, Vec<(String, Content)>)> {
        let (adapter, decoder) = self.trainer.gradients();
        let model = &self.trainer.model;
        let both = [(&model.adapter.parameters, adapter), (&model.decoder.parameters, decoder)];
        let parameters = both.into_iter().flat_map(|(p, g)| g.iter().map(|(slot, _)| p.get(slot)));
        // Invariant: the optimiser has moments for what has gradients, in the same order.
        let with_state = parameters.zip(self.trainer.optimizer.moments()).map(|(parameter, moments)| {
            let name = |part: &str| format!("{part}.{}", parameter.name);
            let state = moments.parts().into_iter().map(|part| (name(part.name), part.content));
            let value = (parameter.name.clone(), Content::Numbers(parameter.value.clone()));
            (parameter.clone(), std::iter::once(value).chain(state).collect())
        });
        with_state.collect()
    }

    /// A checksum of what has learnt so far, and of the optimiser's state.
    pub(super) fn replica_sum(&self) -> Result<u32> {
        let mut sum = crc32fast::Hasher::new();
        for (_, parts) in self.training() {
            for (_, content) in parts {
                let buffers: Vec<Buffer> = match &content {
                    Content::Numbers(table) => table.shards().map(|(_, shard)| shard.buffer().clone()).collect(),
                    Content::Bytes(buffers) => buffers.iter().map(|(buffer, _)| buffer.clone()).collect(),
                };
                for buffer in buffers {
                    sum.update(&self.device.read_blocking(&buffer)?);
                }
            }
        }
        Ok(sum.finalize())
    }

    /// Begins to write everything that the rest of the run depends on, as it is now.
    pub(super) fn begin_saving(&self) -> Result<Saving> {
        let (sum, targets) = self.pending();
        let mut more = Map::new();
        more.insert("adapter".to_string(), json!(self.device.name()));
        more.insert("evaluations".to_string(), self.evaluations_to_json());
        // As bits: the next log line must come out the same.
        more.insert("pending".to_string(), json!([sum.to_bits(), targets]));
        let inputs = self.fingerprints.wait()?;
        more.insert("inputs".to_string(), inputs.iter().map(Fingerprint::to_json).collect());
        if let Some(scale) = &self.loss_scale {
            more.insert("loss_scale".to_string(), json!(scale.to_numbers()));
        }
        let state = RunState {
            step: self.step(),
            position: self.order.position(),
            seed: self.settings.seed,
            tokens: self.tokens,
            settings: self.settings.essence(),
            more,
        };
        let training = self.training();
        let (mut numbers, mut bytes) = (Vec::new(), Vec::new());
        for (parameter, parts) in &training {
            for (name, content) in parts {
                match content {
                    Content::Numbers(table) => {
                        numbers.push(TensorSpec::new(name, &parameter.shape, table.element_type()));
                    }
                    Content::Bytes(buffers) => bytes.push((name.clone(), buffers.iter().map(|(_, n)| n).sum())),
                }
            }
        }
        let writer = self.checkpoints.begin_with_bytes(state, (&numbers, &bytes))?;
        let parts = training.iter().flat_map(|(_, parts)| parts);
        let sources = parts.flat_map(|(name, content)| Source::of(name, content)).collect();
        // Without memory for it, the run waits for the checkpoint: then more than what is on its way is of no use.
        let memory = match self.settings.checkpoint_memory {
            0 => IN_FLIGHT,
            most => most.saturating_mul(1 << 20),
        };
        Saving::begin(&self.device, (self.step(), memory), sources, writer)
    }

    /// Goes to where a checkpoint was written.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let state = &checkpoint.state;
        let inputs = fingerprint::of_checkpoint(state.more.get("inputs"));
        // Paths may change, where it is known that the files did not.
        self.settings.check_resumes(&state.settings, inputs.is_some())?;
        if let Some(then) = inputs {
            check(&then, &self.fingerprints.wait()?)?;
        }
        for (parameter, parts) in self.training() {
            for (name, content) in parts {
                match content {
                    Content::Numbers(table) => {
                        let numbers = checkpoint.tensors.read_f32(&name, &parameter.shape)?;
                        table.write_f32(&self.device, &numbers)?;
                    }
                    Content::Bytes(buffers) => self.restore_bytes(&checkpoint.tensors, &name, &buffers)?,
                }
            }
        }
        self.trainer.model.decoder.round_blocking(&self.device)?;
        self.trainer.optimizer.resume(state.step);
        if self.loss_scale.is_some() {
            let numbers = state.more.get("loss_scale").and_then(Value::as_array);
            let numbers: Option<Vec<u64>> = numbers.and_then(|list| list.iter().map(Value::as_u64).collect());
            self.loss_scale = numbers.and_then(|numbers| LossScale::from_numbers(&numbers));
            if self.loss_scale.is_none() {
                return Err(Error::format(
                    &checkpoint.path,
                    "has no sound \"loss_scale\", which a run in mixed precision needs",
                ));
            }
        }
        self.order.seek(state.position)?;
        self.tokens = state.tokens;
        self.restore_evaluations(state.more.get("evaluations"))?;
        let pending = state.more.get("pending").and_then(Value::as_array);
        let number = |i: usize| pending.and_then(|list| list.get(i)).and_then(Value::as_u64).unwrap_or(0);
        self.set_pending((f64::from_bits(number(0)), number(1)));
        match state.more.get("adapter").and_then(Value::as_str) {
            Some(name) if name != self.device.name() => {
                log::warn!("the run was on {name}; on {} it goes on, but not bit for bit", self.device.name());
            }
            _ => {}
        }
        if state.seed != self.settings.seed {
            return Err(Error::argument("resume", "the checkpoint is of another seed"));
        }
        Ok(())
    }

    /// Buffers from a checkpoint's tensor of bytes, one after the other.
    fn restore_bytes(&self, tensors: &TensorFile, name: &str, buffers: &[(Buffer, usize)]) -> Result<()> {
        let bytes = tensors.read_bytes(name, buffers.iter().map(|(_, n)| n).sum())?;
        let mut rest = bytes.as_slice();
        for (buffer, count) in buffers {
            let (part, after) = rest.split_at(*count);
            self.device.write(buffer, part)?;
            rest = after;
        }
        Ok(())
    }
}
