//! How good answers are, where the right ones are known.

use std::collections::BTreeMap;

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
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What the model said.
    pub answer: String,
    /// Whether that is one of the right answers.
    pub correct: bool,
    /// How many of its words are right: [`Marks::f1`].
    pub f1: f64,
}

/// The outcome of all questions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Over all questions.
    pub overall: Accuracy,
    /// By question type.
    pub types: BTreeMap<String, Accuracy>,
    /// Per question, in their order.
    pub judged: Vec<Judged>,
}

impl Evaluation {
    /// Takes the next question's outcome, of the type `kind`.
    pub fn add(&mut self, kind: &str, judged: Judged) {
        self.overall.add(judged.correct);
        self.types.entry(kind.to_owned()).or_default().add(judged.correct);
        self.judged.push(judged);
    }

    /// The answers' mean [`Marks::f1`]; 0 without questions.
    pub fn f1(&self) -> f64 {
        mean(self.judged.iter().map(|judged| judged.f1))
    }
}

/// How good an answer is, by several measures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Marks {
    /// It is one of the right answers, white space around and between words aside.
    pub exact: bool,
    /// It is one of the right answers, letter case and a final full stop aside, too.
    pub lenient: bool,
    /// Harmonic mean of the shares of its words that are in a right answer, and of that one's that are in it, 0 to 1; the best over all right
    /// answers. Words are those of SQuAD's script: in lower case, without ASCII punctuation and without the articles a, an, the.
    pub f1: f64,
}

impl Marks {
    /// Compares an answer with the right ones.
    pub fn of(answer: &str, right: &[String]) -> Marks {
        let same = |lenient: bool| {
            let said = plain(answer, lenient);
            right.iter().any(|right| plain(right, lenient) == said)
        };
        let said = words(answer);
        let f1 = right.iter().map(|right| overlap(&said, &words(right))).fold(0.0, f64::max);
        Marks { exact: same(false), lenient: same(true), f1 }
    }

    /// The shares of exact and of lenient answers, and the mean of f1; 0 without answers.
    pub(crate) fn means(all: &[Marks]) -> [f64; 3] {
        let share = |is: fn(&Marks) -> bool| {
            let correct = all.iter().filter(|marks| is(marks)).count() as u64;
            Accuracy { correct, count: all.len() as u64 }.share()
        };
        [share(|marks| marks.exact), share(|marks| marks.lenient), mean(all.iter().map(|marks| marks.f1))]
    }
}

/// Added up in order, so that the same answers have the same mean, to the last bit.
fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len();
    if count == 0 { 0.0 } else { numbers.sum::<f64>() / count as f64 }
}

/// The words that SQuAD's evaluation script compares.
fn words(text: &str) -> Vec<String> {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    // An article ends where a word does, also at punctuation that stays.
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()).max(c.len_utf8());
        let (run, after) = rest.split_at(end);
        kept.push_str(if matches!(run, "a" | "an" | "the") { " " } else { run });
        rest = after;
    }
    kept.split_whitespace().map(str::to_owned).collect()
}

/// F1 of two bags of words; of two empty ones it is 1.
fn overlap(said: &[String], right: &[String]) -> f64 {
    if said.is_empty() || right.is_empty() {
        return f64::from(u8::from(said.is_empty() && right.is_empty()));
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    right.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let shared = said.iter().filter(|word| {
        let count = left.get_mut(word.as_str()).filter(|count| **count > 0);
        count.map(|count| *count -= 1).is_some()
    });
    let shared = shared.count() as f64;
    if shared == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (shared / said.len() as f64, shared / right.len() as f64);
    2.0 * precision * recall / (precision + recall)
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

    /// By `compute_f1` of SQuAD 2.0's `evaluate-v2.0.py`.
    #[test]
    fn f1_is_that_of_squad() {
        for (said, right, f1) in [
            ("The cat sat on the mat.", "a cat on a mat", 6.0 / 7.0),
            ("red bicycle", "Red, bicycle!", 1.0),
            ("red red bicycle", "red bicycle", 0.8),
            ("x", "y", 0.0),
            ("", "y", 0.0),
            ("the", "a", 1.0),
            ("\u{201c}a\u{201d} dog", "\u{201c} \u{201d} dog", 1.0),
            ("it's", "its", 1.0),
            ("Ein Öl", "öl an", 2.0 / 3.0),
        ] {
            let marks = Marks::of(said, &[right.to_owned()]);
            assert!((marks.f1 - f1).abs() < 1e-15, "{said:?} {right:?}: {}", marks.f1);
        }
        // The best of the right answers counts.
        let marks = Marks::of("two dogs.", &["cats".to_owned(), "Two dogs".to_owned()]);
        assert_eq!(marks, Marks { exact: false, lenient: true, f1: 1.0 });
        assert_eq!(Marks::of("x", &[]), Marks::default());
        let all = [marks, Marks { exact: true, lenient: true, f1: 0.5 }, Marks::default()];
        assert_eq!(Marks::means(&all), [1.0 / 3.0, 2.0 / 3.0, 0.5]);
        assert_eq!(Marks::means(&[]), [0.0; 3]);
    }
}
