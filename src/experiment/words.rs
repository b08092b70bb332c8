//! Captions, questions and answers, all made from attributes.

use super::attributes::{ATTRIBUTES, Attributes};
use super::random::Random;

/// The word for each value of each attribute.
pub const WORDS: [&[&str]; ATTRIBUTES] = [
    &["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    &["thin", "thick"],
    &["left", "upright", "right"],
    &["narrow", "wide"],
    &["high", "low"],
];

/// Other words for some of the values: attribute, value, word.
const SYNONYMS: [(usize, usize, &str); 6] =
    [(1, 0, "light"), (1, 1, "bold"), (2, 1, "straight"), (3, 0, "slim"), (3, 1, "broad"), (4, 1, "sunken")];

const SHORT: [&str; 6] = [
    "a {1} {3} {0} leaning {2} , set {4}",
    "the digit {0} , {1} strokes , {2} , {3} , {4}",
    "handwritten {3} {4} {0} with {1} lines , slant {2}",
    "this is a {2} {1} {3} {4} number {0}",
    "{0} written {1} and {3} , {2} and {4}",
    "a picture of a {3} {2} {0} , {4} , in {1} ink",
];

/// What a picture does not show.
const FILLER: [&str; 12] = [
    "it was found on an old envelope .",
    "nobody remembers who wrote it .",
    "the form was filled in at a post office .",
    "it rained on the day it was scanned .",
    "the clerk had a long day before that .",
    "someone counted twice to be sure .",
    "it belongs to a collection of many pages .",
    "the pen was borrowed from a friend .",
    "later the sheet went into an archive .",
    "a student typed the records in summer .",
    "the price on the other side was crossed out .",
    "it took only a moment to write .",
];

/// The questions about the attributes, in their order.
pub const QUESTIONS: [&str; ATTRIBUTES] =
    ["which digit is it ?", "how are the strokes ?", "what is the slant ?", "how wide is it ?", "where is the ink ?"];

/// How much a caption says that no image shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// The attributes alone, some ten words.
    #[default]
    Short,
    /// The same among two to four sentences of other matters, some forty words.
    Long,
    /// The one or the other, evenly.
    Mixed,
}

impl Length {
    /// Which of the first two a text is: long ones have sentences.
    pub fn of(text: &str) -> Self {
        if text.ends_with('.') { Length::Long } else { Length::Short }
    }
}

/// A caption that names every attribute, in one of six wordings and with synonyms.
pub fn caption(attributes: &Attributes, length: Length, random: &mut Random) -> String {
    let words = spoken(attributes, random);
    let mut text = random.one(&SHORT).to_string();
    for (k, word) in words.iter().enumerate() {
        text = text.replace(&format!("{{{k}}}"), word);
    }
    let short = match length {
        Length::Short => true,
        Length::Long => false,
        Length::Mixed => random.below(2) == 0,
    };
    if short {
        return text;
    }
    let count = 2 + random.below(3);
    let mut parts: Vec<String> =
        random.choose(count, FILLER.len()).into_iter().map(|i| FILLER[i].to_string()).collect();
    parts.insert(random.below(count + 1), format!("{text} ."));
    parts.join(" ")
}

/// A word for each attribute, at times a synonym.
fn spoken(attributes: &Attributes, random: &mut Random) -> [&'static str; ATTRIBUTES] {
    std::array::from_fn(|k| {
        let value = usize::from(attributes[k]);
        let other = SYNONYMS.iter().find(|s| (s.0, s.1) == (k, value));
        match other.filter(|_| random.below(2) == 1) {
            Some(synonym) => synonym.2,
            None => WORDS[k][value],
        }
    })
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The attribute that it is about.
    pub attribute: usize,
    /// What is asked.
    pub question: String,
    /// The right answer, one word.
    pub answer: &'static str,
}

/// The question for the value of an attribute.
pub fn question(attributes: &Attributes, attribute: usize) -> Question {
    let answer = WORDS[attribute][usize::from(attributes[attribute])];
    Question { attribute, question: QUESTIONS[attribute].to_string(), answer }
}

/// What a text says of each attribute: the value whose word or synonym it has; `None` where it has none, or two that differ.
pub fn read(text: &str) -> [Option<u8>; ATTRIBUTES] {
    let mut found: [Vec<usize>; ATTRIBUTES] = Default::default();
    for word in text.split(|c: char| !c.is_alphabetic()) {
        for (k, words) in WORDS.iter().enumerate() {
            let value = words.iter().position(|w| *w == word);
            let other = || SYNONYMS.iter().find(|s| s.0 == k && s.2 == word).map(|s| s.1);
            if let Some(value) = value.or_else(other).filter(|v| !found[k].contains(v)) {
                found[k].push(value);
            }
        }
    }
    found.map(|values| if let [one] = values[..] { Some(one as u8) } else { None })
}

/// A text that teaches a language model to use what stands before: the attributes' words in any order or a caption, and
/// then a caption or questions with answers. It is what a language model of any size has learnt from its own texts, and
/// a tiny one has to learn first.
pub fn document(attributes: &Attributes, length: Length, marks: Marks<'_>, random: &mut Random) -> String {
    let Marks { bos, answer, eos } = marks;
    let mut text = bos.to_string();
    let mut say = |part: &str| {
        text.push(' ');
        text.push_str(part);
    };
    let words = random.below(3) > 0;
    if words {
        let mut list = spoken(attributes, random);
        random.shuffle(&mut list);
        say(&list.join(" "));
    }
    let told = !words || random.below(2) == 0;
    if told {
        say(&caption(attributes, length, random));
    }
    say("\n");
    if told && (words || random.below(2) == 0) {
        return text;
    }
    for k in random.choose(3, ATTRIBUTES) {
        let q = question(attributes, k);
        say(&format!("{} {answer} {} {eos}", q.question, q.answer));
    }
    text
}

/// The marks of a conversation, as [`document`] writes them.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// Begins a text.
    pub bos: &'a str,
    /// Stands between question and answer.
    pub answer: &'a str,
    /// Ends an answer.
    pub eos: &'a str,
}

/// Every word that the texts of this module can have, sorted.
pub(super) fn vocabulary() -> Vec<&'static str> {
    let texts = SHORT.iter().chain(&FILLER).chain(&QUESTIONS);
    let plain = texts.flat_map(|t| t.split(' ')).filter(|w| !w.starts_with('{'));
    let mut words: Vec<&str> =
        plain.chain(WORDS.iter().copied().flatten().copied()).chain(SYNONYMS.iter().map(|s| s.2)).collect();
    words.sort_unstable();
    words.dedup();
    words
}
