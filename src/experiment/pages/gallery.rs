//! Held-out digits, and what the model says of them after each stage.

use crate::experiment::evaluation::ATTRIBUTE_NAMES;
use crate::experiment::words::WORDS;
use crate::experiment::{ATTRIBUTES, Attributes, Described, Instructed, Materials, Outcome, questions};
use crate::report::{Gallery, Section, Tile};

/// The first held-out images with captions and answers of a row: after stage 1, and after stage 2 on the most images.
pub fn section(materials: &Materials, outcome: &Outcome) -> Section {
    let (Some(first), Some(last)) = (outcome.instructed.first(), outcome.instructed.last()) else {
        return Section::new("Held-out images", "");
    };
    let mut gallery = Gallery::new();
    for (i, described) in last.described.iter().enumerate() {
        let truth = &materials.digits.attributes()[described.image];
        let mut tile = Tile::new(materials.digits.images(&[described.image]), 8).line("truth", words(truth).join(", "));
        let stages = [("stage 1".to_owned(), first), (format!("stage 2 on {} images", last.images), last)];
        let stages = if last.images == 0 { &stages[..1] } else { &stages[..] };
        for (stage, instructed) in stages {
            if let Some(described) = instructed.described.get(i) {
                tile = tile.judged(format!("caption after {stage}"), &described.caption, marks(described));
            }
            tile =
                tile.judged(format!("answers after {stage}"), "", answers(materials, instructed, (i, described.image)));
        }
        gallery = gallery.tile(tile);
    }
    let marks =
        "Under a caption: which attributes it has right. Answers are to the five questions, in the truth's order.";
    Section::new("Held-out images", "").gallery(gallery, format!("Stage 1 on {}. {marks}", outcome.arm.name()))
}

/// What an image shows, in words.
fn words(attributes: &Attributes) -> [&'static str; ATTRIBUTES] {
    std::array::from_fn(|k| WORDS[k][usize::from(attributes[k])])
}

fn marks(described: &Described) -> impl Iterator<Item = (&'static str, bool)> + '_ {
    ATTRIBUTE_NAMES.into_iter().zip(described.right)
}

/// The answers about image `i` in the attributes' order: the questions about it stand together, in an order of their own.
fn answers(materials: &Materials, instructed: &Instructed, (i, image): (usize, usize)) -> Vec<(String, bool)> {
    let judged = instructed.evaluation.judged.iter().skip(i * ATTRIBUTES).take(ATTRIBUTES);
    let mut judged: Vec<_> = judged.zip(questions(&materials.digits, image)).collect();
    judged.sort_by_key(|(_, question)| question.attribute);
    let said = |answer: &str| if answer.is_empty() { "(nothing)".to_owned() } else { answer.to_owned() };
    judged.into_iter().map(|(j, _)| (said(&j.answer), j.correct)).collect()
}
