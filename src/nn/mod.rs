//! Models: the adapter, decoder language models of the families that [`Family`](crate::io::Family) lists, and a small dual encoder, forward and backward.
//!
//! A model owns its [`Parameter`]s and records kernels; nothing here waits for a device. Every sequence of a batch is
//! packed behind the other, so that a row of an activation `[n, d]` is one token and padding costs nothing.

pub mod adapter;
mod contrastive;
pub mod decoder;
pub mod dual_encoder;
pub mod linear;
mod model;
pub mod parameters;
mod precision;
mod sharded_matrix;

pub use adapter::Adapter;
pub use contrastive::{PairLoss, PairSpace};
pub use decoder::Decoder;
pub use dual_encoder::{DualEncoder, DualEncoderConfig, EncoderSpace};
pub use model::Model;
pub use parameters::{Gradients, Parameter, Parameters};
pub use precision::Precision;
pub use sharded_matrix::ShardedMatrix;
