//! What a training run needs besides kernels and models: settings, schedule, order of the data, packed batches, noise,
//! checkpoints and the log, and the memory that it will take.

mod batch;
mod best;
mod buckets;
mod checkpoint;
pub mod data;
mod evaluating;
mod fingerprint;
mod log;
mod model;
pub mod noise;
mod order;
#[cfg(feature = "report")]
mod page;
mod pass;
mod plan;
mod pretrain;
pub mod ranks;
mod results;
mod resume;
mod run;
mod saving;
pub mod schedule;
pub mod settings;
mod sources;
mod start;
mod step;
pub mod visual;

pub use batch::{Batch, IGNORED};
pub use checkpoint::{Checkpoint, CheckpointWriter, Checkpoints, RunState};
pub use data::{Form, SampleData};
pub use log::{LogRecord, RunLog};
pub use model::{Losses, Scorer, Trainer, Trains};
pub use noise::{dropout_key, noise_key};
pub use order::{BatchLimit, DataOrder, OrderOptions, Position};
#[cfg(feature = "report")]
pub use page::write_report;
pub use plan::{MemoryPlan, PlanOptions, PlanShape, plan, plan_settings};
pub use pretrain::{PretrainOptions, pretrain};
pub use ranks::{Communicator, Ranks};
pub use results::Finished;
pub use run::Run;
pub use schedule::{Schedule, ScheduleKind};
pub use settings::{EvalMetric, Key, KeyKind, NoiseShape, Reduce, Settings, Stage, Trained};
pub use sources::Watch;
pub use step::Tick;
pub use visual::{EmbeddingFiles, NamedEmbeddings, VisualInputs};

pub use crate::io::Start;
pub use crate::nn::Model;
