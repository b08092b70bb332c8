//! A run to and from its checkpoints.

use serde_json::{Map, Value, json};

use super::checkpoint::{Checkpoint, RunState};
use super::run::Run;
use crate::device::{Pending, yield_now};
use crate::io::TensorSpec;
use crate::nn::{Parameter, ShardedMatrix};
use crate::optim::LossScale;
use crate::{ElementType, Error, Result};

impl Run {
    /// Parameters that train, with the optimiser's moments.
    fn training(&self) -> Vec<(Parameter, ShardedMatrix, ShardedMatrix)> {
        let (adapter, decoder) = self.trainer.gradients();
        let model = &self.trainer.model;
        let both = [(&model.adapter.parameters, adapter), (&model.decoder.parameters, decoder)];
        let parameters = both.into_iter().flat_map(|(p, g)| g.iter().map(|(slot, _)| p.get(slot)));
        // Invariant: the optimiser has moments for what has gradients, in the same order.
        parameters.zip(self.trainer.optimizer.moments()).map(|(p, (m, v))| (p.clone(), m.clone(), v.clone())).collect()
    }

    /// Begins to write everything that the rest of the run depends on: a tensor each time that the device has been polled. Until that
    /// is done, no step may begin.
    pub(super) fn checkpoint(&self) -> Result<Pending<()>> {
        let (sum, targets) = self.pending();
        let mut more = Map::new();
        more.insert("adapter".to_string(), json!(self.device.name()));
        more.insert("best_eval_loss".to_string(), json!(self.best));
        // As bits: the next log line must come out the same.
        more.insert("pending".to_string(), json!([sum.to_bits(), targets]));
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
        let spec = |name: String, shape: &[usize]| TensorSpec::new(name, shape, ElementType::F32);
        let specs: Vec<TensorSpec> =
            training.iter().flat_map(|(p, _, _)| names(&p.name).map(|name| spec(name, &p.shape))).collect();
        let mut writer = self.checkpoints.begin(state, &specs)?;
        let device = self.device.clone();
        Ok(Pending::new(async move {
            for (parameter, m, v) in &training {
                for (name, table) in names(&parameter.name).iter().zip([&parameter.value, m, v]) {
                    for (_, shard) in table.shards() {
                        writer.write(name, &shard.to_f32(&device).await?)?;
                        yield_now().await;
                    }
                }
            }
            writer.commit().map(drop)
        }))
    }

    /// Goes to where a checkpoint was written.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let state = &checkpoint.state;
        self.settings.check_resumes(&state.settings)?;
        for (parameter, m, v) in self.training() {
            for (name, table) in names(&parameter.name).iter().zip([&parameter.value, &m, &v]) {
                let numbers = checkpoint.tensors.read_f32(name, &parameter.shape)?;
                table.write_f32(&self.device, &numbers)?;
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
        self.best = state.more.get("best_eval_loss").and_then(Value::as_f64);
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
}

/// Names of a parameter and its moments in a checkpoint.
fn names(name: &str) -> [String; 3] {
    [name.to_string(), format!("adamw.m.{name}"), format!("adamw.v.{name}")]
}
