//! Text in and out of language models: tokenizer, chat template, and the samples that training reads.

mod bad;
mod captions;
mod chat;
mod conversations;
mod date;
mod forms;
mod images;
mod jinja;
mod named;
mod questions;
mod samples;
mod stream;
mod template;
mod tokenizer;
mod tokenizer_classes;
mod tokenizer_files;
mod transcript;
mod turns;

pub use bad::SkipBad;
pub use chat::{IMAGE, Role, Turn};
pub use date::ChatDate;
pub(crate) use forms::first_is_conversation;
pub use named::{Extent, NamedPictures, NamedTexts};
pub use questions::{Question, QuestionOptions, Questions};
pub use samples::{Join, Sample, SampleOptions, Samples, TARGET, TOKEN, VISUAL};
pub use stream::TextStream;
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
