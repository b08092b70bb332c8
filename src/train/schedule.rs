//! The learning rate by step, exactly as Transformers computes it.

use crate::{Error, Result};

/// What follows the warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ScheduleKind {
    /// Half a cosine down to 0, the published recipe.
    #[default]
    Cosine,
    /// A straight line down to 0.
    Linear,
    /// The base rate.
    Constant,
}

/// A linear warm-up from 0, then a decay to 0 at the last step.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    /// What follows the warm-up.
    pub kind: ScheduleKind,
    /// The rate at the end of the warm-up.
    pub base: f64,
    /// Optimiser steps of warm-up.
    pub warmup: u64,
    /// Optimiser steps of the whole run.
    pub total: u64,
}

impl Schedule {
    /// A schedule whose warm-up takes `ratio` of `total` steps, rounded up.
    ///
    /// # Errors
    /// A ratio outside 0..=1, or a base rate that is negative or not finite.
    pub fn with_ratio(kind: ScheduleKind, base: f64, ratio: f64, total: u64) -> Result<Schedule> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(Error::argument("warmup_ratio", format!("{ratio} is not between 0 and 1")));
        }
        if !base.is_finite() || base < 0.0 {
            return Err(Error::argument("lr", format!("{base} is not a finite number of at least 0")));
        }
        Ok(Schedule { kind, base, warmup: (total as f64 * ratio).ceil() as u64, total })
    }

    /// The rate of an optimiser step, counted from 0. With a warm-up the first step's is 0, as in Transformers.
    pub fn rate(&self, step: u64) -> f64 {
        self.base * self.factor(step)
    }

    fn factor(&self, step: u64) -> f64 {
        if step < self.warmup {
            return step as f64 / self.warmup.max(1) as f64;
        }
        let left = self.total.saturating_sub(self.warmup).max(1) as f64;
        match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => (self.total.saturating_sub(step) as f64 / left).max(0.0),
            ScheduleKind::Cosine => {
                let progress = (step - self.warmup) as f64 / left;
                // Beyond the end a cosine would rise again.
                if progress >= 1.0 { 0.0 } else { (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0) }
            }
        }
    }
}

/// Optimiser steps of `epochs` passes over `batches` batches, `accumulate` of them to a step; the last step of a pass may have
/// fewer. At least 1.
pub fn total_steps(batches: u64, accumulate: u64, epochs: f64) -> u64 {
    let per_epoch = batches.div_ceil(accumulate.max(1));
    ((per_epoch as f64 * epochs).ceil() as u64).max(1)
}
