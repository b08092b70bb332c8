//! What the paper leads one to expect of the experiment, and what several seeds say to it.

use super::arm::Domain;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Share of attributes right in captions of held-out images, after stage 1.
    Captions,
    /// The same of the images of one domain.
    CaptionsOf(Domain),
    /// Share of right answers after stage 2 on so many images; 0 for those after stage 1.
    Answers(usize),
}

/// A row's score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The row's name.
    pub row: &'static str,
    /// Its score.
    pub score: Score,
}

/// One claim: one row does better than another, or better with one score than with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// In words.
    pub claim: &'static str,
    /// What should be larger.
    pub better: Side,
    /// Than this.
    pub worse: Side,
}

/// The scores of the two sides of an [`Expectation`], seed by seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sides {
    /// Of the row that should do better.
    pub better: Vec<f64>,
    /// Of the other one, of the same seeds.
    pub worse: Vec<f64>,
}

/// Whether it came out, over two or more seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The 95% interval of the mean difference is above 0.
    CameOut,
    /// It is below 0.
    Reversed,
    /// It holds 0.
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

    /// What the interval says; one seed says nothing.
    pub fn verdict(&self) -> Option<Verdict> {
        self.half_width.map(|half| match self.difference {
            d if d > half => Verdict::CameOut,
            d if d < -half => Verdict::Reversed,
            _ => Verdict::Unclear,
        })
    }
}

impl Expectation {
    /// The claim and what became of it, as a sentence; `why` is said where it did not come out.
    pub fn sentence(&self, judgement: &Judgement, why: &str) -> String {
        let points = match judgement.half_width {
            Some(half) => format!("{:+.1} ± {:.1} points", 100.0 * judgement.difference, 100.0 * half),
            None => format!("{:+.1} points", 100.0 * judgement.difference),
        };
        let outcome = match judgement.verdict() {
            Some(Verdict::CameOut) => return format!("{} – came out ({points}).", self.claim),
            Some(Verdict::Reversed) => "the other way round",
            Some(Verdict::Unclear) => "open",
            None => "one seed gives no verdict",
        };
        let why = if why.is_empty() { String::new() } else { format!(" {why}") };
        format!("{} – {outcome} ({points}).{why}", self.claim)
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
        assert_eq!(j.verdict(), Some(Verdict::Unclear));
        assert_eq!(judge(&[0.5, 0.51, 0.5], &[0.4, 0.4, 0.4]).unwrap().verdict(), Some(Verdict::CameOut));
        assert_eq!(judge(&[0.4, 0.4, 0.4], &[0.5, 0.51, 0.5]).unwrap().verdict(), Some(Verdict::Reversed));
        let one = judge(&[0.5], &[0.4]).unwrap();
        assert_eq!((one.verdict(), one.half_width), (None, None));
        assert_eq!(judge(&[], &[]), None);
        assert_eq!(judge(&[f64::NAN], &[0.4]), None);
    }

    #[test]
    fn sentences_say_why_only_where_it_did_not_come_out() {
        let side = Side { row: "a", score: Score::Captions };
        let claim = Expectation { claim: "A beats B", better: side, worse: side };
        let say = |better: &[f64], worse: &[f64]| claim.sentence(&judge(better, worse).unwrap(), "Because.");
        assert_eq!(say(&[0.5, 0.51, 0.5], &[0.4, 0.4, 0.4]), "A beats B – came out (+10.3 ± 1.4 points).");
        let reversed = say(&[0.4, 0.4, 0.4], &[0.5, 0.51, 0.5]);
        assert_eq!(reversed, "A beats B – the other way round (-10.3 ± 1.4 points). Because.");
        assert!(say(&[0.5, 0.3], &[0.4, 0.4]).contains("– open ("));
        assert_eq!(say(&[0.5], &[0.4]), "A beats B – one seed gives no verdict (+10.0 points). Because.");
    }
}
