//! Timing of recorded work and of calls.

use std::time::Instant;

use crate::Result;
use crate::device::{Device, Recorder};

/// Wall times below this are mostly the submission's: work is repeated within one.
const SUBMISSION: f64 = 2e-3;
const MOST_REPEATS: f64 = 64.0;

/// How long something is timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Seconds to spend, warm-up not counted.
    pub seconds: f64,
    /// Samples at least, however long they take.
    pub least: usize,
    /// Samples at most.
    pub most: usize,
}

/// What clock the times are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The device's timestamp queries around each dispatch: copies between dispatches and the submission are not in them.
    Timestamps,
    /// The host's clock, from submission to completion.
    Wall,
}

impl Timer {
    /// As results files have it.
    pub fn name(self) -> &'static str {
        match self {
            Timer::Timestamps => "timestamps",
            Timer::Wall => "wall",
        }
    }
}

/// Times of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Their clock.
    pub timer: Timer,
    /// In seconds, ascending; never empty.
    samples: Vec<f64>,
}

impl Timing {
    fn new(timer: Timer, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Timing { timer, samples }
    }

    /// Number of samples.
    pub fn runs(&self) -> usize {
        self.samples.len()
    }

    /// The sample below which a share `at` of all lie, linear between them, in seconds.
    pub fn quantile(&self, at: f64) -> f64 {
        let place = at.clamp(0.0, 1.0) * (self.samples.len() - 1) as f64;
        let (below, share) = (place.floor() as usize, place.fract());
        let above = (below + 1).min(self.samples.len() - 1);
        self.samples[below] + share * (self.samples[above] - self.samples[below])
    }

    /// The median, in seconds.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Distance of the quartiles over the median: how noisy the samples are.
    pub fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / self.median()
    }
}

/// Takes samples until the budget is spent.
fn sample(budget: Budget, mut once: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    let (start, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < budget.least.max(1)
        || (samples.len() < budget.most && start.elapsed().as_secs_f64() < budget.seconds)
    {
        samples.push(once()?);
    }
    Ok(samples)
}

/// Times a call by the clock, after one that does not count.
///
/// # Errors
/// What the call says.
pub fn called(budget: Budget, call: &mut dyn FnMut() -> Result<()>) -> Result<Timing> {
    call()?;
    let samples = sample(budget, || {
        let start = Instant::now();
        call()?;
        Ok(start.elapsed().as_secs_f64())
    })?;
    Ok(Timing::new(Timer::Wall, samples))
}

/// Takes the seconds that a call gives, after one that does not count.
///
/// # Errors
/// What the call says.
pub fn timed(budget: Budget, call: &mut dyn FnMut() -> Result<f64>) -> Result<Timing> {
    call()?;
    Ok(Timing::new(Timer::Wall, sample(budget, call)?))
}

/// Times what `record` records, after two runs that do not count: by timestamps where the device has them and all of the work is
/// in its dispatches, else by the clock, several to a submission where they are short.
///
/// # Errors
/// What `record` and the device say.
pub fn recorded(device: &Device, budget: Budget, record: &dyn Fn(&mut Recorder) -> Result<()>) -> Result<Timing> {
    let wall = |repeats: usize| -> Result<f64> {
        let mut recorder = device.recorder();
        (0..repeats).try_for_each(|_| record(&mut recorder))?;
        let start = Instant::now();
        recorder.submit()?.wait()?;
        Ok(start.elapsed().as_secs_f64() / repeats as f64)
    };
    wall(1)?;
    let once = wall(1)?;
    let stamped = || -> Result<f64> {
        let mut recorder = device.recorder().timed();
        record(&mut recorder)?;
        let durations = recorder.submit()?.durations_blocking()?;
        Ok(durations.iter().map(|(_, duration)| duration.as_secs_f64()).sum())
    };
    let caps = device.capabilities();
    // Where operands are textures, their copies are work too, and lie between the dispatches.
    if caps.timestamps && !caps.texel_reads && stamped()? > 0.0 {
        return Ok(Timing::new(Timer::Timestamps, sample(budget, stamped)?));
    }
    let repeats = (SUBMISSION / once.max(1e-9)).ceil().clamp(1.0, MOST_REPEATS) as usize;
    Ok(Timing::new(Timer::Wall, sample(budget, || wall(repeats))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_spread() {
        let timing = Timing::new(Timer::Wall, vec![4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!((timing.median(), timing.quantile(0.25), timing.quantile(0.75)), (3.0, 2.0, 4.0));
        assert_eq!((timing.runs(), timing.spread()), (5, 2.0 / 3.0));
        assert_eq!(Timing::new(Timer::Wall, vec![7.0]).spread(), 0.0);
    }

    #[test]
    fn budgets_hold() {
        let budget = Budget { seconds: 0.0, least: 3, most: 5 };
        let mut calls = 0;
        let timing = called(budget, &mut || {
            calls += 1;
            Ok(())
        });
        assert_eq!((timing.unwrap().runs(), calls), (3, 4));
        let long = Budget { seconds: 60.0, least: 1, most: 5 };
        assert_eq!(called(long, &mut || Ok(())).unwrap().runs(), 5);
    }
}
