//! Text in and out of language models: tokenizer, chat template, and the samples that training reads.

mod captions;
mod chat;
mod conversations;
mod questions;
mod samples;
mod tokenizer;

pub use chat::{ChatTemplate, IMAGE, Role, Turn};
pub use questions::Question;
pub use samples::{Join, Sample, SampleOptions, Samples, TARGET, TOKEN, VISUAL};
pub use tokenizer::{TextStream, Tokenizer};
