//! What a trained adapter and decoder are asked: answers about an image embedding, the likelihood of texts, and accuracy on
//! questions [paper sections 5 and 6]. Real image embeddings go through the adapter as they are; text embeddings are aligned before, where
//! [`VisualInputs`](crate::train::VisualInputs) has an aligner.

mod evaluate;
mod score;

#[cfg(feature = "experiment")]
pub(crate) use crate::answers::wilson;
pub use crate::answers::{
    Accuracy, Answer, AnswerOptions, Answering, Assistant, End, Evaluation, Judged, Marks, Reply,
};
pub use evaluate::evaluate;
pub use score::{Score, score};
