//! Attention: short sequences, a long one, and a long one whose queries see a window of keys.

use super::case::{Case, Sizes};
use crate::device::Device;
use crate::tuning::{Attention, AttentionGradients};
use crate::{ElementType, Result};

fn shape_of(a: &Attention) -> String {
    let shape = format!("{} × {} tokens, {} heads over {}", a.count, a.length, a.heads.query, a.heads.key_value);
    a.heads.window.map_or(shape.clone(), |window| format!("{shape}, window {window}"))
}

pub(super) fn forward(device: &Device, sizes: &Sizes) -> Result<Case> {
    forward_of(device, sizes, ElementType::F32)
}

/// As mixed precision has it, on tensor cores where the device has some.
pub(super) fn of_halves(device: &Device, sizes: &Sizes) -> Result<Case> {
    forward_of(device, sizes, ElementType::F16)
}

fn forward_of(device: &Device, sizes: &Sizes, element: ElementType) -> Result<Case> {
    let a = Attention::new(device, (sizes.tokens, sizes.hidden), element)?;
    let (shape, result) = (shape_of(&a), a.out.buffer().clone());
    let cost = (a.forward_bytes(), a.forward_flops());
    let case = Case::kernel(shape, cost, (&result, false), move |r| a.forward(r));
    // Probabilities are rounded to f16.
    Ok(if element == ElementType::F16 { case.in_halves().rounding_on_cores(5e-4) } else { case })
}

pub(super) fn backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    backward_of(device, sizes, ElementType::F32)
}

/// As mixed precision has it, on tensor cores where the device has some.
pub(super) fn backward_of_halves(device: &Device, sizes: &Sizes) -> Result<Case> {
    backward_of(device, sizes, ElementType::F16)
}

fn backward_of(device: &Device, sizes: &Sizes, element: ElementType) -> Result<Case> {
    let a = AttentionGradients::new(Attention::new(device, (sizes.tokens, sizes.hidden), element)?)?;
    let (shape, result) = (shape_of(&a.forward), a.dk.buffer().clone());
    let cost = (a.bytes(), a.flops());
    let case = Case::kernel(shape, cost, (&result, false), move |r| a.backward(r));
    // Probabilities and their gradients are rounded to f16.
    Ok(if element == ElementType::F16 { case.in_halves().rounding_on_cores(2e-3) } else { case })
}

/// One sequence of 2048 tokens where 512 are a batch; a quarter of the heads.
fn long_sequence(device: &Device, sizes: &Sizes, window: Option<usize>) -> Result<Attention> {
    let length = (4 * sizes.tokens).min(2048);
    let window = window.map(|part| (length / part) as u32);
    Attention::of(device, (length, 1), (sizes.hidden.div_ceil(4).max(256), window), ElementType::F32)
}

fn long_forward(a: Attention) -> Case {
    let (shape, result, cost) = (shape_of(&a), a.out.buffer().clone(), (a.forward_bytes(), a.forward_flops()));
    Case::kernel(shape, cost, (&result, false), move |r| a.forward(r))
}

fn long_gradients(a: Attention) -> Result<Case> {
    let a = AttentionGradients::new(a)?;
    let (shape, result, cost) = (shape_of(&a.forward), a.dk.buffer().clone(), (a.bytes(), a.flops()));
    Ok(Case::kernel(shape, cost, (&result, false), move |r| a.backward(r)))
}

pub(super) fn long(device: &Device, sizes: &Sizes) -> Result<Case> {
    Ok(long_forward(long_sequence(device, sizes, None)?))
}

/// A window of an eighth of the sequence.
pub(super) fn long_in_a_window(device: &Device, sizes: &Sizes) -> Result<Case> {
    Ok(long_forward(long_sequence(device, sizes, Some(8))?))
}

pub(super) fn long_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    long_gradients(long_sequence(device, sizes, None)?)
}

pub(super) fn long_backward_in_a_window(device: &Device, sizes: &Sizes) -> Result<Case> {
    long_gradients(long_sequence(device, sizes, Some(8))?)
}
