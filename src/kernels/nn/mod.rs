//! Neural networks, forward and backward [paper, section 5]. Matrices are f32 tensors `[n, d]`; their padding stays zero.
//!
//! Gradients are written unless a function says that it adds to them. All sums have a fixed order: no float atomics.

pub mod add_rows;
pub mod attention;
pub mod attention_relative;
pub mod bias;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod gate;
pub mod gelu;
pub mod info_nce;
pub mod layer_norm;
pub mod norm;
pub mod pair_sigmoid;
pub mod patches;
pub mod pool;
pub mod rms_norm;
pub mod rotary;
pub(crate) mod sequences;
pub mod unit_rows;
