//! Products of matrices: plain, by a weight of 16 bits, of halves, and with an epilogue.

use super::case::{Case, Sizes, numbers};
use crate::device::{Device, Purpose, Tensor};
use crate::kernels::linalg::epilogue::Epilogue;
use crate::kernels::linalg::exact_product::{self, Digits, LARGEST, Sums};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::linalg::slices::{self, Parts, Slices};
use crate::kernels::nn::gate::Act;
use crate::kernels::nn::gelu::Form;
use crate::{ElementType, Result};

/// A square f32 matrix.
fn matrix(device: &Device, seed: u32, n: usize) -> Result<Tensor> {
    Tensor::from_f32(device, &numbers(seed, n * n), n)
}

fn empty(device: &Device, n: usize) -> Result<Tensor> {
    Tensor::new(device, n, n, ElementType::F32)
}

/// Bytes of square matrices, so many of each element's bytes, and the product's FLOPs.
fn work(n: usize, element_bytes: u64) -> (u64, u64) {
    (element_bytes * (n * n) as u64, 2 * (n * n * n) as u64)
}

/// Of two square matrices.
fn multiplied(device: &Device, sizes: &Sizes, (turn_a, turn_b): (bool, bool)) -> Result<Case> {
    let n = sizes.side;
    let (a, b, c) = (matrix(device, 1, n)?, matrix(device, 2, n)?, empty(device, n)?);
    let result = c.buffer().clone();
    Ok(Case::kernel(format!("[{n}, {n}] f32"), work(n, 12), (&result, false), move |r| {
        let (mut left, mut right) = (Operand::new(&a), Operand::new(&b));
        if turn_a {
            left = left.transposed();
        }
        if turn_b {
            right = right.transposed();
        }
        matmul::record(r, Product::default(), (left, right), (&c, 0))
    }))
}

pub(super) fn plain(device: &Device, sizes: &Sizes) -> Result<Case> {
    multiplied(device, sizes, (false, false))
}

pub(super) fn by_transposed(device: &Device, sizes: &Sizes) -> Result<Case> {
    multiplied(device, sizes, (false, true))
}

pub(super) fn of_transposed(device: &Device, sizes: &Sizes) -> Result<Case> {
    multiplied(device, sizes, (true, false))
}

/// By the transposed weight of a frozen layer, `bytes` its elements' own.
fn by_half(device: &Device, sizes: &Sizes, (element, bytes): (ElementType, Vec<u8>)) -> Result<Case> {
    let n = sizes.side;
    let (a, c) = (matrix(device, 1, n)?, empty(device, n)?);
    let b = Tensor::from_bytes(device, &bytes, n, element)?;
    let result = c.buffer().clone();
    Ok(Case::kernel(format!("[{n}, {n}] f32 by {element}"), work(n, 10), (&result, false), move |r| {
        matmul::record(r, Product::default(), (Operand::new(&a), Operand::new(&b).transposed()), (&c, 0))
    }))
}

pub(super) fn by_f16(device: &Device, sizes: &Sizes) -> Result<Case> {
    let b = numbers(2, sizes.side * sizes.side).into_iter().flat_map(|x| half::f16::from_f32(x).to_le_bytes());
    by_half(device, sizes, (ElementType::F16, b.collect()))
}

pub(super) fn by_bf16(device: &Device, sizes: &Sizes) -> Result<Case> {
    let b = numbers(2, sizes.side * sizes.side).into_iter().flat_map(|x| half::bf16::from_f32(x).to_le_bytes());
    by_half(device, sizes, (ElementType::BF16, b.collect()))
}

/// By the transposed weight of a frozen layer in blocks: 17 bytes to 16 elements of it.
pub(super) fn by_q8_0(device: &Device, sizes: &Sizes) -> Result<Case> {
    by_blocks(device, sizes, true)
}

/// As the gradient passes a frozen layer in blocks.
pub(super) fn by_q8_0_plain(device: &Device, sizes: &Sizes) -> Result<Case> {
    by_blocks(device, sizes, false)
}

fn by_blocks(device: &Device, sizes: &Sizes, turned: bool) -> Result<Case> {
    let n = sizes.side.next_multiple_of(32);
    let (a, c) = (matrix(device, 1, n)?, empty(device, n)?);
    let b = Tensor::quantized(device, (Purpose::Data, "b"), &numbers(2, n * n), n)?;
    let result = c.buffer().clone();
    let work = (8 * (n * n) as u64 + b.buffer().bytes(), 2 * (n * n * n) as u64);
    Ok(Case::kernel(format!("[{n}, {n}] f32 by q8_0"), work, (&result, false), move |r| {
        let b = Operand::new(&b);
        let b = if turned { b.transposed() } else { b };
        matmul::record(r, Product::default(), (Operand::new(&a), b), (&c, 0))
    }))
}

/// Of halves to halves, as mixed precision has them: 2 bytes an element of all three.
fn of_halves(device: &Device, sizes: &Sizes, (turn_a, turn_b): (bool, bool), to: ElementType) -> Result<Case> {
    let n = sizes.side;
    let half = |seed| {
        let bytes = numbers(seed, n * n).into_iter().flat_map(|x| half::f16::from_f32(x).to_le_bytes());
        Tensor::from_bytes(device, &bytes.collect::<Vec<u8>>(), n, ElementType::F16)
    };
    let (a, b, c) = (half(1)?, half(2)?, Tensor::new(device, n, n, to)?);
    let result = c.buffer().clone();
    let bytes = 4 + to.bytes() as u64;
    let case = Case::kernel(format!("[{n}, {n}] f16, to {to}"), work(n, bytes), (&result, false), move |r| {
        let turned = |t, turn| if turn { Operand::new(t).transposed() } else { Operand::new(t) };
        matmul::record(r, Product::default(), (turned(&a, turn_a), turned(&b, turn_b)), (&c, 0))
    });
    Ok(if to == ElementType::F16 { case.in_halves() } else { case })
}

pub(super) fn halves(device: &Device, sizes: &Sizes) -> Result<Case> {
    of_halves(device, sizes, (false, false), ElementType::F16)
}

pub(super) fn halves_by_transposed(device: &Device, sizes: &Sizes) -> Result<Case> {
    of_halves(device, sizes, (false, true), ElementType::F16)
}

/// As weights' gradients are summed.
pub(super) fn halves_of_transposed(device: &Device, sizes: &Sizes) -> Result<Case> {
    of_halves(device, sizes, (true, false), ElementType::F32)
}

/// Of integers, each of 36 products of their digits. Bytes: 6 an integer, of digits, and the sums read and written.
pub(super) fn exact(device: &Device, sizes: &Sizes) -> Result<Case> {
    let n = sizes.side;
    let integers =
        |seed| numbers(seed, n * n).into_iter().map(|x| (f64::from(x) * LARGEST).round()).collect::<Vec<_>>();
    let (mut a, mut b) = (Digits::new(device, n, n)?, Digits::new(device, n, n)?);
    a.write(device, &integers(1))?;
    b.write(device, &integers(2))?;
    let sums = Sums::new(device, n, n)?;
    let work = (44 * (n * n) as u64, 2 * 36 * (n * n * n) as u64);
    let Some(result) = sums.single().cloned() else {
        return Err(crate::Error::argument("side", format!("{n}; its sums are more than a binding holds")));
    };
    Ok(Case::kernel(format!("[{n}, {n}] 43 bits"), work, (&result, true), move |r| {
        sums.clear(r);
        exact_product::record(r, &a, &b, exact_product::Placement::default(), &sums)
    }))
}

/// Of integers, each of 25 products of their slices. Bytes: the slices, and the sums read and written.
fn by_slices(device: &Device, sizes: &Sizes, element: ElementType) -> Result<Case> {
    let n = sizes.side;
    let integers =
        |seed| numbers(seed, n * n).into_iter().map(|x| (f64::from(x) * LARGEST).round()).collect::<Vec<_>>();
    let [mut a, mut b] = [Slices::new(device, n, n, element)?, Slices::new(device, n, n, element)?];
    a.write(device, &integers(1))?;
    b.write(device, &integers(2))?;
    let (parts, sums) = (Parts::new(device, n, n)?, Sums::new(device, n, n)?);
    let work = ((10 * element.bytes() as u64 + 32) * (n * n) as u64, 2 * 25 * (n * n * n) as u64);
    let Some(result) = sums.single().cloned() else {
        return Err(crate::Error::argument("side", format!("{n}; its sums are more than a binding holds")));
    };
    Ok(Case::kernel(format!("[{n}, {n}] 43 bits, {element}"), work, (&result, true), move |r| {
        sums.clear(r);
        slices::record(r, (&a, &b), exact_product::Placement::default(), (&parts, &sums))
    }))
}

pub(super) fn exact_by_floats(device: &Device, sizes: &Sizes) -> Result<Case> {
    by_slices(device, sizes, ElementType::F32)
}

pub(super) fn exact_by_halves(device: &Device, sizes: &Sizes) -> Result<Case> {
    by_slices(device, sizes, ElementType::F16)
}

/// What a layer does besides its product.
#[derive(Clone, Copy, PartialEq)]
enum After {
    Bias,
    Residual,
    Gelu,
    Act,
}

/// By a layer's transposed weight, with an epilogue of `flops` FLOPs an element and `bytes` bytes an element besides the product's.
fn fused(device: &Device, sizes: &Sizes, after: After, (bytes, flops): (u64, u64)) -> Result<Case> {
    let n = sizes.side;
    let (a, b, c) = (matrix(device, 1, n)?, matrix(device, 2, n)?, empty(device, n)?);
    let row = Tensor::from_f32(device, &numbers(3, n), n)?;
    let other = if after == After::Residual { matrix(device, 4, n)? } else { empty(device, n)? };
    let (least, product) = work(n, 12 + bytes);
    let work = (least, product + flops * (n * n) as u64);
    let result = c.buffer().clone();
    Ok(Case::kernel(format!("[{n}, {n}] f32"), work, (&result, false), move |r| {
        let epilogue = match after {
            After::Bias => Epilogue::Add { bias: Some(&row), residual: None },
            After::Residual => Epilogue::Add { bias: None, residual: Some(&other) },
            After::Gelu => Epilogue::Gelu { form: Form::Erf, bias: Some(&row), before: &other },
            After::Act => Epilogue::Act { act: Act::Gelu(Form::Quick), bias: Some(&row) },
        };
        let operands = (Operand::new(&a), Operand::new(&b).transposed());
        matmul::record_fused(r, Product::default(), epilogue, operands, (&c, 0))
    }))
}

pub(super) fn with_bias(device: &Device, sizes: &Sizes) -> Result<Case> {
    fused(device, sizes, After::Bias, (0, 1))
}

pub(super) fn with_residual(device: &Device, sizes: &Sizes) -> Result<Case> {
    fused(device, sizes, After::Residual, (4, 1))
}

/// GELU's argument is written, too.
pub(super) fn with_gelu(device: &Device, sizes: &Sizes) -> Result<Case> {
    fused(device, sizes, After::Gelu, (4, 31))
}

/// The quick form of GELU, of which nothing is kept.
pub(super) fn with_activation(device: &Device, sizes: &Sizes) -> Result<Case> {
    fused(device, sizes, After::Act, (0, 16))
}
