//! Rows divided by their norms, as a case of RMSNorm: `x (1/√d) / √(Σx²/d + ε) = x / √(Σx² + d ε)`, ε = 1e-20. A row of norm
//! 1e-10 or less comes out shorter than 1, a row of zeros as zeros.
//!
//! Bytes and FLOPs: those of [`super::rms_norm`].

use super::rms_norm;
use crate::Result;
use crate::device::{Device, Recorder, Tensor};

/// Added to the mean square.
pub const EPS: f32 = 1e-20;

/// The weight that makes RMSNorm a division by the norm, `[1, width]`.
///
/// # Errors
/// A width of 0; no memory.
pub fn weight(device: &Device, width: usize) -> Result<Tensor> {
    Tensor::from_f32(device, &vec![1.0 / (width as f32).sqrt(); width], width)
}

/// Records `y = x / ‖x‖` row by row, `[n, d]` f32; `weight` is what [`weight`] made.
///
/// # Errors
/// Shapes that differ, other element types, `y` the memory of an operand, another device's tensors.
pub fn forward(recorder: &mut Recorder, x: &Tensor, weight: &Tensor, y: &Tensor) -> Result<()> {
    rms_norm::forward(recorder, EPS, x, weight, y)
}

/// Records `dx = (dy - y (y · dy)) / ‖x‖`, `[n, d]`; `x` and `weight` are the forward's.
///
/// # Errors
/// As [`forward`].
pub fn backward(recorder: &mut Recorder, x: &Tensor, weight: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()> {
    rms_norm::backward(recorder, EPS, x, weight, dy, (dx, false), None)
}
