//! Two builds, or two devices, timed in turns: what differs between them, and what is only the machine's drift.
//!
//! Another job that comes or goes, a clock that falls, memory that fills: between two runs, one after the other, a machine may become
//! twice as slow, and the ratio of their times says nothing of the code. In turns, both sides meet the same machine, and how far
//! the turns of one and the same side differ shows what the machine did.

use crate::{Error, Result};

/// How sure the interval of a ratio should be, where the rounds suffice: six give 97%, eight 99%.
const CONFIDENCE: f64 = 0.95;

/// Who is timed in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This build, on its device.
    This,
    /// The other build, or the other device.
    Other,
}

/// What the turns say of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This side is faster, beyond the drift and over the whole interval.
    Faster,
    /// This side is slower, beyond the drift and over the whole interval.
    Slower,
    /// The sides differ by no more than turns of one side do.
    Drift,
    /// The ratio is beyond the drift, but its interval holds 1.
    Unsettled,
}

impl Verdict {
    /// The verdict's name, as results files have it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Drift => "within the drift",
            Verdict::Unsettled => "unsettled",
        }
    }
}

/// How one case does on both sides, over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Turns {
    /// How many times as fast this side is: the median over the rounds of the other's seconds over this one's.
    pub speedup: f64,
    /// The interval of [`Self::speedup`]: two of the rounds' ratios, which enclose the true median whatever the noise's law.
    pub interval: [f64; 2],
    /// With which probability the interval encloses it.
    pub confidence: f64,
    /// How much the turns of one and the same side differ: the upper quartile of its seconds over the lower one, less 1; the larger
    /// of both sides'.
    pub drift: f64,
}

impl Turns {
    /// Judges a case from its seconds: for each round this side's and the other's.
    ///
    /// # Errors
    /// Fewer than two rounds; seconds that are not positive and finite.
    pub fn of(seconds: &[[f64; 2]]) -> Result<Self> {
        let wrong = |problem: &str| Err(Error::argument("turns", problem));
        if seconds.len() < 2 {
            return wrong("a ratio with an interval takes two rounds or more");
        }
        if !seconds.iter().flatten().all(|s| s.is_finite() && *s > 0.0) {
            return wrong("seconds must be positive and finite");
        }
        let sorted = |log: &dyn Fn(&[f64; 2]) -> f64| {
            let mut logs: Vec<f64> = seconds.iter().map(log).collect();
            logs.sort_by(f64::total_cmp);
            logs
        };
        let ratios = sorted(&|[this, other]| other.ln() - this.ln());
        let spread = |side: usize| {
            let logs = sorted(&|round| round[side].ln());
            quantile(&logs, 0.75) - quantile(&logs, 0.25)
        };
        let (left_out, confidence) = enclosing(ratios.len());
        Ok(Turns {
            speedup: quantile(&ratios, 0.5).exp(),
            interval: [ratios[left_out].exp(), ratios[ratios.len() - 1 - left_out].exp()],
            confidence,
            drift: spread(0).max(spread(1)).exp_m1(),
        })
    }

    /// What can be said. A difference must be beyond the drift, and its interval too must leave out 1: with dozens of cases, the interval
    /// alone would do so in some by chance.
    pub fn verdict(&self) -> Verdict {
        let [low, high] = self.interval;
        if self.speedup.max(1.0 / self.speedup) <= 1.0 + self.drift {
            Verdict::Drift
        } else if low > 1.0 {
            Verdict::Faster
        } else if high < 1.0 {
            Verdict::Slower
        } else {
            Verdict::Unsettled
        }
    }
}

/// Calls `turn` for both sides in each of `rounds` rounds, in the order ABBA: who comes second in a round comes first in the next, so
/// that a machine that steadily slows down favours neither. Returns each round's outcomes, this side's first.
///
/// # Errors
/// The first one of `turn`, which ends the rounds.
pub fn in_turns<T, E>(
    rounds: usize,
    mut turn: impl FnMut(Side) -> std::result::Result<T, E>,
) -> std::result::Result<Vec<[T; 2]>, E> {
    let round = |round: usize| {
        if round.is_multiple_of(2) {
            let this = turn(Side::This)?;
            Ok([this, turn(Side::Other)?])
        } else {
            let other = turn(Side::Other)?;
            Ok([turn(Side::This)?, other])
        }
    };
    (0..rounds).map(round).collect()
}

/// The value of sorted numbers below which a share `at` of them lies, linear between them.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + place.fract() * (sorted[above] - sorted[below])
}

/// How many of `count` sorted ratios may be left out at either end, so that those that remain still enclose the true median with
/// [`CONFIDENCE`]; none where `count` is too small for it. With the probability that they do: each ratio lies below the true median
/// with probability 1/2, so that the number of those below is binomial.
fn enclosing(count: usize) -> (usize, f64) {
    let mut term = 0.5f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let (mut below, mut best) = (term, (0, 1.0 - 2.0 * term));
    for left_out in 1..count / 2 {
        term *= (count - left_out + 1) as f64 / left_out as f64;
        below += term;
        if 1.0 - 2.0 * below < CONFIDENCE {
            break;
        }
        best = (left_out, 1.0 - 2.0 * below);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::case::numbers;

    /// Seconds of rounds in ABBA on a machine whose pace is `pace` in each turn, where the other side takes `slower` times as long
    /// and every turn has noise of its own, up to `noise`.
    fn seconds(pace: &[f64], slower: f64, noise: f64, seed: u32) -> Vec<[f64; 2]> {
        let (mut paces, mut noises) = (pace.iter(), numbers(seed, pace.len()).into_iter());
        let turn = |side| {
            let noise = 1.0 + noise * f64::from(noises.next().unwrap());
            let takes = if side == Side::Other { slower } else { 1.0 };
            Ok::<f64, ()>(1e-3 * takes * noise * paces.next().unwrap())
        };
        in_turns(pace.len() / 2, turn).unwrap()
    }

    fn judged(pace: &[f64], slower: f64, noise: f64, seed: u32) -> Turns {
        Turns::of(&seconds(pace, slower, noise, seed)).unwrap()
    }

    #[test]
    fn turns_come_in_abba() {
        let mut order = String::new();
        let turn = |side| {
            order.push(if side == Side::This { 'A' } else { 'B' });
            Ok::<usize, ()>(order.len())
        };
        assert_eq!(in_turns(4, turn), Ok(vec![[1, 2], [4, 3], [5, 6], [8, 7]]));
        assert_eq!(order, "ABBAABBA");
        let mut calls = 0;
        let failing = |_| {
            calls += 1;
            if calls == 3 { Err("lost") } else { Ok(()) }
        };
        assert_eq!(in_turns(4, failing), Err("lost"));
        assert_eq!(calls, 3);
    }

    /// The fault that this is for: one code, and a job that comes or goes in the midst.
    #[test]
    fn a_job_that_comes_and_goes_is_drift() {
        let busy = |from: usize, to: usize| (0..12).map(move |turn| if (from..to).contains(&turn) { 2.6 } else { 1.0 });
        for from in 0..12 {
            for to in from..=12 {
                let pace: Vec<f64> = busy(from, to).collect();
                let turns = judged(&pace, 1.0, 0.02, (13 * from + to) as u32);
                assert!(matches!(turns.verdict(), Verdict::Drift | Verdict::Unsettled), "{from}..{to}: {turns:?}");
                assert!((4..8).contains(&(to - from)) <= (turns.drift > 0.9), "{from}..{to}: {turns:?}");
            }
        }
    }

    #[test]
    fn a_steady_slowdown_favours_neither() {
        let pace: Vec<f64> = (0..16).map(|turn| 1.0 + 0.05 * f64::from(turn)).collect();
        let turns = judged(&pace, 1.0, 0.0, 0);
        assert!((turns.speedup - 1.0).abs() < 0.01 && turns.drift > 0.2, "{turns:?}");
        assert_eq!(turns.verdict(), Verdict::Drift);
    }

    #[test]
    fn a_true_difference_is_found() {
        // Of 50%, with noise of 5% a turn and a machine that becomes 20% slower: both ways.
        let pace: Vec<f64> = (0..12).map(|turn| 1.0 + 0.2 * f64::from(turn) / 12.0).collect();
        for seed in 0..50 {
            let faster = judged(&pace, 1.5, 0.05, seed);
            assert_eq!(faster.verdict(), Verdict::Faster, "{faster:?}");
            assert!((faster.speedup / 1.5 - 1.0).abs() < 0.1, "{faster:?}");
            let slower = judged(&pace, 1.0 / 1.5, 0.05, seed);
            assert_eq!(slower.verdict(), Verdict::Slower, "{slower:?}");
        }
    }

    /// Of 1,000 cases without a difference 3 to 4 are called one at eight rounds (and 13 at six), as a simulation of 20,000 had it.
    #[test]
    fn differences_by_chance_are_rare() {
        let same = (0..500).filter(|seed| {
            let noisy = judged(&[1.0; 16], 1.0, 0.3, *seed);
            matches!(noisy.verdict(), Verdict::Drift | Verdict::Unsettled)
        });
        assert!(same.count() >= 495);
    }

    #[test]
    fn rounds_that_disagree_settle_nothing() {
        let turns = Turns::of(&[[1.0, 1.3], [1.0, 1.3], [1.0, 1.3], [1.0, 1.3], [1.0, 1.3], [1.0, 0.9]]).unwrap();
        assert!((turns.speedup - 1.3).abs() < 1e-12 && (turns.interval[0] - 0.9).abs() < 1e-12, "{turns:?}");
        assert!(turns.drift.abs() < 1e-12, "{turns:?}");
        assert_eq!(turns.verdict(), Verdict::Unsettled);
    }

    #[test]
    fn intervals_are_as_sure_as_they_say() {
        // 1 - 2 · P(binomial(n, 1/2) <= k), as any table has it.
        for (count, left_out, confidence) in
            [(2, 0, 0.5), (4, 0, 0.875), (6, 0, 0.96875), (8, 0, 0.9921875), (9, 1, 0.9609375), (20, 5, 0.9586105)]
        {
            let (k, sure) = enclosing(count);
            assert_eq!(k, left_out, "{count}");
            assert!((sure - confidence).abs() < 1e-7, "{count}: {sure}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [&[][..], &[[1.0, 1.0]], &[[1.0, 1.0], [0.0, 1.0]], &[[1.0, f64::NAN], [1.0, 1.0]]] {
            Turns::of(bad).unwrap_err();
        }
    }
}
