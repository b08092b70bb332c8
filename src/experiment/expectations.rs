//! What the paper leads one to expect of the experiment, and what several seeds say to it.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Share of attributes right in captions of held-out images, after stage 1.
    Captions,
    /// Share of right answers after stage 2 on so many images.
    Answers(usize),
}

/// One claim: one row does better than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// In words.
    pub claim: &'static str,
    /// The name of the row that should do better.
    pub better: &'static str,
    /// Than this one.
    pub worse: &'static str,
    /// In this.
    pub score: Score,
    /// Why it may not come out at this size.
    pub reason: &'static str,
}

/// The scores of the two sides of an [`Expectation`], seed by seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sides {
    /// Of the row that should do better.
    pub better: Vec<f64>,
    /// Of the other one, of the same seeds.
    pub worse: Vec<f64>,
}

/// Whether it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The 95% interval of the mean difference is above 0.
    CameOut,
    /// It is below 0.
    Reversed,
    /// It holds 0, or there is one seed only.
    Unclear,
}

/// The mean difference of a claim's two sides over the seeds, with its 95% interval (Student's t, seeds paired).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Mean of better − worse.
    pub difference: f64,
    /// Half the width of the interval; `None` for fewer than two seeds.
    pub half_width: Option<f64>,
}

impl Judgement {
    /// From the scores of paired seeds; `None` where there are none or where a score is not a number.
    pub fn of(sides: &Sides) -> Option<Self> {
        let differences: Vec<f64> = sides.better.iter().zip(&sides.worse).map(|(b, w)| b - w).collect();
        let n = differences.len() as f64;
        if differences.is_empty() || differences.iter().any(|d| !d.is_finite()) {
            return None;
        }
        let difference = differences.iter().sum::<f64>() / n;
        let t = StudentsT::new(0.0, 1.0, n - 1.0).ok().map(|t| t.inverse_cdf(0.975));
        let half_width = t.map(|t| {
            let variance = differences.iter().map(|d| (d - difference).powi(2)).sum::<f64>() / (n - 1.0);
            t * (variance / n).sqrt()
        });
        Some(Judgement { difference, half_width })
    }

    /// What the interval says.
    pub fn verdict(&self) -> Verdict {
        match self.half_width {
            Some(half) if self.difference > half => Verdict::CameOut,
            Some(half) if self.difference < -half => Verdict::Reversed,
            _ => Verdict::Unclear,
        }
    }
}

impl Expectation {
    /// The claim and what became of it, as a sentence.
    pub fn sentence(&self, judgement: &Judgement) -> String {
        let points = match judgement.half_width {
            Some(half) => format!("{:+.1} ± {:.1} points", 100.0 * judgement.difference, 100.0 * half),
            None => format!("{:+.1} points, from one seed", 100.0 * judgement.difference),
        };
        let (outcome, reason) = match judgement.verdict() {
            Verdict::CameOut => ("came out", String::new()),
            Verdict::Reversed => ("did not come out, it is the other way round", format!(" Likely: {}", self.reason)),
            Verdict::Unclear => ("is open", format!(" Likely: {}", self.reason)),
        };
        format!("{} – {outcome} ({points}).{reason}", self.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(better: &[f64], worse: &[f64]) -> Option<Judgement> {
        Judgement::of(&Sides { better: better.to_vec(), worse: worse.to_vec() })
    }

    #[test]
    fn verdicts_follow_from_the_interval() {
        // Differences 0.1, 0.2, 0.3: mean 0.2, sd 0.1, t(0.975, 2) = 4.302653.
        let j = judge(&[0.5, 0.6, 0.7], &[0.4, 0.4, 0.4]).unwrap();
        assert!((j.difference - 0.2).abs() < 1e-12);
        assert!((j.half_width.unwrap() - 4.302653 * 0.1 / 3f64.sqrt()).abs() < 1e-6);
        assert_eq!(j.verdict(), Verdict::Unclear);
        assert_eq!(judge(&[0.5, 0.51, 0.5], &[0.4, 0.4, 0.4]).unwrap().verdict(), Verdict::CameOut);
        assert_eq!(judge(&[0.4, 0.4, 0.4], &[0.5, 0.51, 0.5]).unwrap().verdict(), Verdict::Reversed);
        let one = judge(&[0.5], &[0.4]).unwrap();
        assert_eq!((one.verdict(), one.half_width), (Verdict::Unclear, None));
        assert_eq!(judge(&[], &[]), None);
        assert_eq!(judge(&[f64::NAN], &[0.4]), None);
    }
}
