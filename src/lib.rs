//! realign closes the *modality gap*: encoders such as CLIP put images and texts in one space, yet the two clouds stay
//! apart. [ReAlign](https://arxiv.org/abs/2602.07026) maps text embeddings into the image cloud in closed form, from a
//! mean and a trace per side, without pairs and without training.
//!
//! ```
//! use realign::align::{FitOptions, fit, apply_rows};
//! use realign::stats::MemoryRows;
//! use realign::Device;
//!
//! # fn main() -> realign::Result<()> {
//! // [n, d] rows, here 4 texts and 3 images of width 2; they need no pairing.
//! let text = [1.0f32, 0.1, 0.9, 0.3, 0.8, -0.1, 1.0, 0.2];
//! let image = [0.1f32, 1.0, 0.4, 0.9, -0.1, 0.8];
//!
//! let device = Device::host(); // or Device::request_blocking(&Default::default())
//! let mut source = MemoryRows::f32("text", &text, 2)?;
//! let mut target = MemoryRows::f32("image", &image, 2)?;
//! let statistics = fit(&device, &mut source, &mut target, &FitOptions::default())?;
//! let aligned: Vec<f32> = apply_rows(&device, &statistics, &text, 2)?;
//! assert_eq!(aligned.len(), text.len());
//! # Ok(())
//! # }
//! ```
//!
//! | module | for |
//! | --- | --- |
//! | [`align`] | fitting and applying ReAlign and its rivals |
//! | [`geometry`] | what the gap looks like: spectra, frames, decompositions, every diagnostic |
//! | [`rank`] | search over several collections: scores of all modalities on one scale |
//! | [`stats`] | means and traces: streaming, exact, mergeable |
//! | [`io`] | npy, safetensors and parquet files |
//! | [`device`] | GPUs through wgpu, or the host's cores; tensors, recorded commands |
//! | [`tuning`] | the fastest kernels of a device, measured once and kept |
//! | [`nn`], [`optim`] | the adapter, decoder language models and a dual encoder, forward and backward; AdamW |
//! | [`kernels`] | the compute kernels and how to add one |
//! | [`host`] | what a kernel's twin on the CPU is given |
//! | `nalgebra` | covariances, means, frames and maps as nalgebra's types (feature `nalgebra`) |
//! | `report` | charts as SVG and HTML pages (feature `report`) |
//! | `train` | the two-stage training loop: settings, data, runs, checkpoints (feature `train`) |
//! | `inference` | answers, scores and accuracy of trained models (feature `train`) |
//! | `encode` | pictures and texts to vectors: preprocessing (feature `pictures`), the towers of CLIP and SigLIP, sentence-transformers (`encode`) |
//! | `experiment` | digits with captions, a dual encoder and the monitor of its gap (feature `experiment`); pictures of one's own (with `encode`, `pictures`) |
#![deny(missing_docs, unsafe_code)]

pub mod align;
#[cfg(feature = "train")]
mod answers;
#[cfg(feature = "bench")]
pub mod bench;
mod blocks;
pub mod device;
pub mod element;
#[cfg(any(feature = "encode", feature = "pictures"))]
pub mod encode;
pub mod error;
#[cfg(feature = "experiment")]
pub mod experiment;
#[cfg(test)]
mod floors;
pub mod geometry;
mod gpu;
pub mod host;
#[cfg(feature = "train")]
pub mod inference;
pub mod io;
pub mod kernels;
#[cfg(feature = "nalgebra")]
pub mod nalgebra;
pub mod nn;
pub mod optim;
pub mod rank;
mod remedy;
#[cfg(feature = "report")]
pub mod report;
mod setters;
mod spec;
pub mod stats;
#[cfg(feature = "train")]
pub mod train;
pub mod tuning;

pub use device::Device;
pub use element::ElementType;
pub use error::{Error, Result};
/// The version of wgpu whose devices [`Device::from_wgpu`] takes.
pub use wgpu;
