//! Language models and adapters in the layout that Hugging Face's libraries read and write.
//!
//! A model is a folder: `config.json` ([`DecoderConfig`]), its weights in one or many safetensors files ([`Weights`]), and
//! the tokenizer's files, which pass through. An adapter is one safetensors file under LLaVA's and Bunny's names
//! ([`AdapterWeights`]).

mod adapter;
mod config;
#[cfg(feature = "encode")]
pub(crate) mod encoder;
mod export;
mod fields;
mod source;
mod weights;

pub use adapter::{AdapterKind, AdapterLayer, AdapterWeights};
pub use config::{
    Activation, DecoderConfig, DecoderShape, Family, LayerKind, NormPlacement, QueryKeyNorm, Rope, RopeScaling, Stored,
};
pub use export::{MAX_SHARD_BYTES, ModelWriter};
pub(crate) use fields::read_object;
#[cfg(feature = "train")]
pub(super) use fields::read_object_if_there;
#[cfg(feature = "train")]
pub(super) use source::ModelFiles;
pub use weights::Weights;
