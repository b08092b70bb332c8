//! Accuracy on questions with known answers.

use std::ops::ControlFlow;

use crate::Result;
use crate::answers::{AnswerOptions, Assistant, Evaluation, Judged, Marks};
use crate::io::Question;
use crate::train::VisualInputs;

/// Asks all questions; those without turns are texts to be said, as stage 1 trains ([`Questions::captions`](crate::io::Questions::captions)).
/// An answer is right if it equals one of the right ones, white space around and between words aside; with `lenient`, also letter case
/// and a final full stop. `judged` gets each question's outcome as it comes.
///
/// # Errors
/// What [`Assistant::answer`] and `judged` report; an embedding that cannot be read or aligned.
pub fn evaluate(
    assistant: &Assistant,
    (questions, inputs): (&[Question], &mut VisualInputs),
    (options, lenient): (&AnswerOptions, bool),
    mut judged: impl FnMut(&Question, &Judged) -> Result<()>,
) -> Result<Evaluation> {
    let mut evaluation = Evaluation::default();
    for question in questions {
        let embedding = question.row.map(|row| inputs.rows(&[row])).transpose()?;
        let entries = assistant.prompt(question)?;
        let options = AnswerOptions { one_line: options.one_line || question.turns.is_empty(), ..*options };
        let answer = assistant.say((&entries, embedding.as_ref()), &options, |_| ControlFlow::Continue(()))?.text;
        let Marks { exact, lenient: nearly, f1 } = Marks::of(&answer, &question.answers);
        let outcome = Judged { answer, correct: if lenient { nearly } else { exact }, f1 };
        judged(question, &outcome)?;
        evaluation.add(&question.kind, outcome);
    }
    inputs.check()?;
    Ok(evaluation)
}
