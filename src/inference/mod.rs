//! What a trained adapter and decoder are asked: answers about an image embedding, the likelihood of texts, and accuracy on
//! questions [paper sections 5 and 6]. No alignment happens here: real image embeddings go through the adapter as they are.

mod answer;
mod evaluate;
mod score;

pub use answer::{Answer, AnswerOptions, Answering, Assistant, End, Reply};
pub(crate) use evaluate::wilson;
pub use evaluate::{Accuracy, Evaluation, Judged, evaluate};
pub use score::{Score, score};
