//! What a training run needs besides kernels and models: settings, schedule, order of the data, packed batches, noise,
//! checkpoints and the log.

pub mod batch;
pub mod checkpoint;
pub mod log;
pub mod model;
pub mod noise;
pub mod order;
pub mod schedule;
pub mod settings;

pub use batch::{Batch, IGNORED};
pub use checkpoint::{Checkpoint, CheckpointWriter, Checkpoints, RunState};
pub use log::{LogRecord, RunLog};
pub use model::{Losses, Model, Trainer, Trains};
pub use noise::{add_noise, noise_key};
pub use order::{DataOrder, OrderOptions, Position};
pub use schedule::{Schedule, ScheduleKind};
pub use settings::{NoiseShape, Settings, Stage, Trained};
