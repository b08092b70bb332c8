//! Text in and out of language models: tokenizer, chat template, and the samples that training reads.

mod bad;
mod captions;
mod chat;
mod conversations;
mod forms;
mod images;
mod questions;
mod samples;
mod tokenizer;
mod turns;

pub use bad::SkipBad;
pub use chat::{ChatTemplate, IMAGE, Role, Turn};
pub(crate) use forms::first_is_conversation;
pub use questions::{Question, QuestionOptions, Questions};
pub use samples::{Join, Sample, SampleOptions, Samples, TARGET, TOKEN, VISUAL};
pub use tokenizer::{TextStream, Tokenizer};
