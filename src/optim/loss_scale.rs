//! Dynamic loss scaling for gradients in f16 [Micikevicius et al., arXiv 1710.03740, section 3.2].

use std::collections::VecDeque;

use crate::{Error, Result};

/// The factor of a fresh run's loss. Losses are summed over tokens, so that a logit's gradient is of order 1 whatever the batch; deep in a decoder
/// those of a fresh adapter spike to some thousands in the first steps, which matter most and are not to be skipped (SmolLM2-135M: with 1024
/// six of the first 25 steps were, and the loss after 200 was 6% behind).
const FIRST: f32 = 16.0;
/// Steps without an overflow after which it doubles.
const GROWTH: u64 = 200;
/// Its bounds. The least is far below 1: losses are summed over tokens, not averaged.
const LEAST: f32 = 1.0 / 65_536.0;
const MOST: f32 = 16_777_216.0;
/// Steps between one and the first whose factor depends on what became of it: a step is recorded before the numbers of the one before have
/// come, and the factor must not depend on when they do.
const LAG: u64 = 2;

/// The factor of the loss: halved after a step whose gradient was not finite, which changes nothing, and doubled after 200 steps in a row
/// without one. What became of a step takes effect on the next but one, however early it is known, so that a run has the same bits
/// whichever way it is stepped.
#[derive(Clone, Debug, PartialEq)]
pub struct LossScale {
    scale: f32,
    /// Steps in a row without an overflow.
    good: u64,
    /// Steps of which the factor knows.
    applied: u64,
    /// What became of the steps after those: whether their gradients were finite.
    known: VecDeque<bool>,
    skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        LossScale { scale: FIRST, good: 0, applied: 0, known: VecDeque::new(), skipped: 0 }
    }
}

impl LossScale {
    /// The factor of step `step`, counted from 0.
    ///
    /// # Errors
    /// Nobody said what became of the step before the last; gradients that overflow whatever the factor.
    pub fn of_step(&mut self, step: u64) -> Result<f32> {
        while self.applied + LAG <= step {
            let Some(finite) = self.known.pop_front() else {
                return Err(Error::argument("loss scale", format!("nothing is known of step {}", self.applied)));
            };
            self.applied += 1;
            self.good = if finite { self.good + 1 } else { 0 };
            if !finite {
                self.scale *= 0.5;
            } else if self.good == GROWTH {
                (self.scale, self.good) = ((self.scale * 2.0).min(MOST), 0);
            }
        }
        if self.scale < LEAST {
            let problem = "gradients overflow f16 however small the loss's factor; compute in f32";
            return Err(Error::degenerate(problem));
        }
        Ok(self.scale)
    }

    /// Says whether the gradient of the next step, in their order, was finite.
    pub fn observe(&mut self, finite: bool) {
        self.known.push_back(finite);
        self.skipped += u64::from(!finite);
    }

    /// Steps that changed nothing since the start.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// All of it as numbers, for checkpoints.
    pub fn to_numbers(&self) -> Vec<u64> {
        let head = [u64::from(self.scale.to_bits()), self.good, self.applied, self.skipped];
        head.into_iter().chain(self.known.iter().map(|finite| u64::from(*finite))).collect()
    }

    /// The reverse of [`Self::to_numbers`].
    pub fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let &[bits, good, applied, skipped, ref known @ ..] = numbers else { return None };
        let scale = f32::from_bits(u32::try_from(bits).ok()?);
        let known = known.iter().map(|finite| *finite != 0).collect();
        (scale.is_finite() && scale > 0.0).then_some(LossScale { scale, good, applied, known, skipped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_halves_the_factor_of_the_step_after_the_next() {
        let mut scale = LossScale::default();
        let mut seen = Vec::new();
        for step in 0..6 {
            seen.push(scale.of_step(step).unwrap());
            scale.observe(step != 1);
        }
        assert_eq!(seen, [FIRST, FIRST, FIRST, FIRST / 2.0, FIRST / 2.0, FIRST / 2.0]);
        assert_eq!(scale.skipped(), 1);
    }

    /// Told late or early, asked often or once, and by way of a checkpoint in between: the same factors.
    #[test]
    fn the_factor_does_not_depend_on_when_it_is_told() {
        let finite = |step: u64| step % 97 != 3;
        let (mut early, mut late) = (LossScale::default(), LossScale::default());
        for step in 0..500 {
            let factor = early.of_step(step).unwrap();
            early.observe(finite(step));
            if step > 0 {
                // The step before's numbers come once this one is submitted.
                assert_eq!(late.of_step(step).unwrap(), factor, "{step}");
                late.observe(finite(step - 1));
            }
            early = LossScale::from_numbers(&early.to_numbers()).unwrap();
        }
    }

    #[test]
    fn it_grows_after_200_good_steps_and_ends_where_nothing_helps() {
        let mut scale = LossScale::default();
        for step in 0..=GROWTH + 1 {
            assert_eq!(scale.of_step(step).unwrap(), if step <= GROWTH { FIRST } else { 2.0 * FIRST }, "{step}");
            scale.observe(true);
        }
        let mut scale = LossScale::default();
        let failed = (0..100).find_map(|step| {
            let factor = scale.of_step(step);
            scale.observe(false);
            factor.err()
        });
        let error = failed.unwrap().to_string();
        assert!(error.contains("f32"), "{error}");
        assert!(LossScale::default().of_step(2).is_err(), "nothing was told");
        assert_eq!(LossScale::from_numbers(&[0, 0]), None);
    }
}
