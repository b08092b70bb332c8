//! The experiment on pictures of one's own: real encoders or towers that are trained here, a real language model [paper sections 4-6].
//!
//! A folder holds pictures, `captions.jsonl` with a record `{image, text}` per caption, and perhaps `questions.jsonl` with conversations
//! about them, `{id, image, conversations}`. [`pictures_study`] deals the pictures by the seed into those with captions for stage 1, those
//! without texts that the images' statistics come from, those with conversations for stage 2, and those that are held out; embeds pictures
//! and captions; trains an adapter for each row; and asks the language model about the held-out pictures.

mod collection;
mod encoders;
mod materials;
mod outcome;
mod own;
mod parts;
mod results;
mod row;
mod rows;
mod study;
mod tables;

pub use collection::Collection;
pub use outcome::{Answered, CaptionScores, PictureOutcome, Said};
pub use parts::PictureParts;
pub use study::{PicturesEvent, PicturesOptions, PicturesSettings, PicturesWatch, pictures_plan, pictures_study};
pub use tables::pictures_tables;
#[cfg(feature = "report")]
pub(super) use tables::{columns, stage2_note};
