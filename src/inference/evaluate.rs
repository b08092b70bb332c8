//! Accuracy on questions with known answers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::answer::{AnswerOptions, Assistant};
use crate::Result;
use crate::io::{EmbeddingRows, Question};

/// 97.5% quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A share of right answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// Right answers.
    pub correct: u64,
    /// Questions.
    pub count: u64,
}

impl Accuracy {
    /// The share, 0 to 1; 0 without questions.
    pub fn share(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.correct as f64 / self.count as f64 }
    }

    /// Wilson's 95% interval of the share.
    pub fn interval(self) -> (f64, f64) {
        wilson(self.share(), self.count as f64)
    }

    fn add(&mut self, right: bool) {
        self.count += 1;
        self.correct += u64::from(right);
    }
}

/// Wilson's 95% interval of a share of `n` independent answers; n need not be whole.
pub(crate) fn wilson(p: f64, n: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
}

/// One question's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What the model said.
    pub answer: String,
    /// Whether that is one of the right answers.
    pub correct: bool,
}

/// The outcome of all questions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// Over all questions.
    pub overall: Accuracy,
    /// By question type.
    pub types: BTreeMap<String, Accuracy>,
    /// Per question, in their order.
    pub judged: Vec<Judged>,
}

/// Asks all questions. An answer is right if it equals one of the right ones, white space around and between words aside;
/// with `lenient`, also letter case and a final full stop. `judged` gets each question's outcome as it comes.
///
/// # Errors
/// What [`Assistant::answer`] and `judged` report; an embedding that cannot be read.
pub fn evaluate(
    assistant: &Assistant,
    (questions, embeddings): (&[Question], &mut EmbeddingRows),
    (options, lenient): (&AnswerOptions, bool),
    mut judged: impl FnMut(&Question, &Judged) -> Result<()>,
) -> Result<Evaluation> {
    let mut evaluation = Evaluation::default();
    let mut block = vec![0.0; embeddings.width()];
    for question in questions {
        if let Some(row) = question.row {
            embeddings.read(&[row], &mut block)?;
        }
        let embedding = question.row.map(|_| &block[..]);
        let entries = assistant.chat(&question.turns)?;
        let answer = assistant.answer((&entries, embedding), options, |_| ControlFlow::Continue(()))?.text;
        let said = plain(&answer, lenient);
        let correct = question.answers.iter().any(|right| plain(right, lenient) == said);
        evaluation.overall.add(correct);
        evaluation.types.entry(question.kind.clone()).or_default().add(correct);
        let outcome = Judged { answer, correct };
        judged(question, &outcome)?;
        evaluation.judged.push(outcome);
    }
    Ok(evaluation)
}

/// What is compared of an answer.
fn plain(text: &str, lenient: bool) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !lenient {
        return words;
    }
    words.strip_suffix('.').unwrap_or(&words).trim_end().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilsons_interval() {
        // R: binom::binom.wilson(8, 10) and (0, 5), (20, 20).
        let near = |(a, b): (f64, f64), (c, d): (f64, f64)| (a - c).abs() < 1e-6 && (b - d).abs() < 1e-6;
        let of = |correct, count| Accuracy { correct, count }.interval();
        assert!(near(of(8, 10), (0.490_162, 0.943_318)), "{:?}", of(8, 10));
        assert!(near(of(0, 5), (0.0, 0.434_482)), "{:?}", of(0, 5));
        assert!(near(of(20, 20), (0.838_875, 1.0)), "{:?}", of(20, 20));
        assert_eq!(of(0, 0), (0.0, 1.0));
    }

    #[test]
    fn what_counts_as_the_same_answer() {
        assert_eq!(plain("  a  b\n", false), "a b");
        assert!(plain("Yes.", false) != plain("yes", false));
        assert_eq!(plain("Yes.", true), plain("yes ", true));
    }
}
