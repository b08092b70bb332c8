//! Answers of a model and how good they are: below training, which asks a model while it learns, and below `inference`, which asks
//! one that has learnt. Its public items are those of `inference`.

mod answer;
mod judge;

pub use answer::{Answer, AnswerOptions, Answering, Assistant, End, Reply};
pub(crate) use answer::{Ask, AskState};
#[cfg(feature = "experiment")]
pub(crate) use judge::wilson;
pub use judge::{Accuracy, Evaluation, Judged, Marks};
