//! Text in and out of language models: tokenizer, chat template, and the samples that training reads.

mod captions;
mod chat;
mod conversations;
mod date;
mod jinja;
mod questions;
mod samples;
mod stream;
mod template;
mod tokenizer;
mod tokenizer_classes;
mod tokenizer_files;
mod transcript;

pub use chat::{IMAGE, Role, Turn};
pub use date::ChatDate;
pub use questions::Question;
pub use samples::{Join, Sample, SampleOptions, Samples, TARGET, TOKEN, VISUAL};
pub use stream::TextStream;
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
