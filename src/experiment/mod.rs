//! The miniature experiment: real images with texts that are measured from them, a dual encoder that is trained on pairs,
//! and the monitor that watches its modality gap form [spec 4, 6-8; paper section 3 and appendix H].
//!
//! A [`Demo`] is the protocol once; a [`study()`] runs a [`plan()`] over several seeds, keeps the [`results`] as they come, and judges
//! the paper's claims.
//!
//! With the features `encode` and `pictures`, [`pictures_study`] does the same on pictures of one's own, with encoders of model folders and a
//! real language model.
//!
//! Everything downstream takes embeddings from files, so encoders of one's own may stand in for the bundled one.

mod arm;
mod attributes;
mod claims;
mod clustered;
pub mod demo;
mod digits;
mod distances;
mod encoder;
mod evaluation;
mod expectations;
#[cfg(feature = "report")]
pub mod figures;
mod files;
pub mod folder;
mod image_tower;
mod jobs;
mod language_model;
pub mod markdown;
mod monitor;
#[cfg(feature = "report")]
mod pages;
mod pairs;
#[cfg(all(feature = "encode", feature = "pictures"))]
mod pictures;
pub mod plan;
mod protocol;
mod random;
mod record;
pub mod results;
mod study;
mod vocabulary;
pub mod words;

pub use arm::{Arm, Domain, Source, Texts};
pub use attributes::{ATTRIBUTES, Attributes, Measures, Thresholds, VALUES};
pub use clustered::Clustered;
pub use demo::{AlignedCloud, Demo};
pub use digits::{Digits, Parts, Split};
pub use encoder::{EncoderSettings, EncoderStep, TrainedEncoder, train_dual_encoder};
pub use evaluation::{Described, Fitted, Instructed, Outcome, run_arm};
pub use expectations::{Expectation, Judgement, Score, Side, Sides, Verdict};
pub use files::{FileOptions, questions, text_id, write_digits, write_embeddings};
pub use folder::{FolderOptions, FolderPairs};
pub use image_tower::{TextRow, train_image_tower};
pub use language_model::{TinyDecoder, warm_up_samples};
pub use monitor::{Monitor, MonitorOptions, Observation};
#[cfg(all(feature = "encode", feature = "pictures", feature = "report"))]
pub use pages::pictures_page;
#[cfg(feature = "report")]
pub use pages::study_page;
pub use pairs::{DigitPairs, Pairs, Probe};
#[cfg(all(feature = "encode", feature = "pictures"))]
pub use pictures::{
    Answered, CaptionScores, Collection, PictureOutcome, PictureParts, PicturesEvent, PicturesOptions,
    PicturesSettings, PicturesWatch, Said, pictures_plan, pictures_study, pictures_tables,
};
pub use plan::{Preparation, plan};
pub use protocol::{Materials, Progress, ProtocolSettings, Training};
pub use random::{Random, Stream};
pub use record::{Record, Shape, View};
pub use results::Results;
pub use study::{StudyEvent, StudyOptions, StudyWatch, study};
pub use vocabulary::Vocabulary;
pub use words::{Length, Question};
