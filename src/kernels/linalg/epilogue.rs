//! What happens to a finished product before it is written: a bias, a residual, GELU or another activation, without another pass over it.
//!
//! It saves, per element of C, 8 bytes for a bias and 8 of a residual's 12; GELU's 8, though 4 remain for what its backward pass
//! reads. FLOPs: 1, 1 and about 30 per element.

use super::super::{Binding, KernelSpec, check_float_matrix, check_matrix};
use super::matmul::{self, COOPERATIVE, DIRECT, Operand, SUBGROUP, TILED};
use crate::device::{Buffer, Recorder, Tensor};
use crate::host::linalg::matmul::{BIAS, FORM, RESIDUAL};
use crate::kernels::nn::gate::{self, Act};
use crate::kernels::nn::gelu::Form;
use crate::spec::{Constant, Multiplier};
use crate::{ElementType, Error, Result};

/// What is done to `X = alpha op(A) op(B)` (`+ C`), `[m, n]`, before it is written to C.
#[derive(Clone, Copy, Debug, Default)]
pub enum Epilogue<'a> {
    /// Nothing: `C = X`.
    #[default]
    None,
    /// `C = X + bias + residual`; `bias` `[1, n]` is added to all rows, `residual` is `[m, n]`.
    Add {
        /// The row.
        bias: Option<&'a Tensor>,
        /// The matrix.
        residual: Option<&'a Tensor>,
    },
    /// `before = X + bias`, `C = gelu(before)`; `before`, `[m, n]`, is what GELU's backward pass reads. It may be f16 where C is, and is rounded
    /// apart from what GELU is taken of.
    Gelu {
        /// Which GELU.
        form: Form,
        /// The row, `[1, n]`.
        bias: Option<&'a Tensor>,
        /// Where GELU's argument is kept.
        before: &'a Tensor,
    },
    /// `C = act(X + bias)`, of which nothing is kept: for inference.
    Act {
        /// Which function.
        act: Act,
        /// The row, `[1, n]`.
        bias: Option<&'a Tensor>,
    },
}

/// Tensor cores' operands are buffers, the others' texels.
macro_rules! bindings {
    ($kind:ident $(, $last:expr)?) => {{
        const BINDINGS: &[Binding] = &[
            Binding::uniform("params"),
            Binding::$kind(1, "operand1"),
            Binding::$kind(2, "operand2"),
            Binding::read_write(3, "inout3"),
            Binding::read(4, "bias"),
            $($last,)?
        ];
        BINDINGS
    }};
}

/// [`Epilogue::Add`] of each shader, by [`Multiplier`].
pub static ADD: [KernelSpec; 4] = [
    add("matmul subgroup, add", &SUBGROUP, bindings!(texels, Binding::read(5, "residual"))),
    add("matmul direct, add", &DIRECT, bindings!(texels, Binding::read(5, "residual"))),
    add("matmul tiled, add", &TILED, bindings!(texels, Binding::read(5, "residual"))),
    add("matmul cooperative, add", &COOPERATIVE, bindings!(read, Binding::read(5, "residual"))),
];

/// [`Epilogue::Gelu`] of each shader, by [`Multiplier`].
pub static GELU: [KernelSpec; 4] = [
    gelu("matmul subgroup, gelu", &SUBGROUP, bindings!(texels, Binding::read_write(5, "result5"))),
    gelu("matmul direct, gelu", &DIRECT, bindings!(texels, Binding::read_write(5, "result5"))),
    gelu("matmul tiled, gelu", &TILED, bindings!(texels, Binding::read_write(5, "result5"))),
    gelu("matmul cooperative, gelu", &COOPERATIVE, bindings!(read, Binding::read_write(5, "result5"))),
];

/// [`Epilogue::Act`] of each shader, by [`Multiplier`].
pub static ACT: [KernelSpec; 4] = [
    act("matmul subgroup, act", &SUBGROUP, bindings!(texels)),
    act("matmul direct, act", &DIRECT, bindings!(texels)),
    act("matmul tiled, act", &TILED, bindings!(texels)),
    act("matmul cooperative, act", &COOPERATIVE, bindings!(read)),
];

const fn act(name: &'static str, plain: &KernelSpec, bindings: &'static [Binding]) -> KernelSpec {
    KernelSpec::new(name, plain.source, bindings, crate::host::linalg::matmul::act_twin)
        .with_overrides(&["TRANSPOSE_A", "TRANSPOSE_B", "ACCUMULATE", "UPPER", "BIAS", "ACT", "FORM"])
        .with_imports(&[("epilogue", "linalg/epilogue_act.wgsl")])
        .like(plain)
}

const fn add(name: &'static str, plain: &KernelSpec, bindings: &'static [Binding]) -> KernelSpec {
    KernelSpec::new(name, plain.source, bindings, crate::host::linalg::matmul::add_twin)
        .with_overrides(&["TRANSPOSE_A", "TRANSPOSE_B", "ACCUMULATE", "UPPER", "BIAS", "RESIDUAL"])
        .with_imports(&[("epilogue", "linalg/epilogue_linear.wgsl")])
        .like(plain)
}

const fn gelu(name: &'static str, plain: &KernelSpec, bindings: &'static [Binding]) -> KernelSpec {
    KernelSpec::new(name, plain.source, bindings, crate::host::linalg::matmul::gelu_twin)
        .with_overrides(&["TRANSPOSE_A", "TRANSPOSE_B", "ACCUMULATE", "UPPER", "BIAS", "FORM"])
        .with_imports(&[("epilogue", "linalg/epilogue_gelu.wgsl")])
        .like(plain)
}

impl<'a> Epilogue<'a> {
    /// [`Epilogue::None`] if nothing is added.
    pub(super) fn simplified(self) -> Self {
        match self {
            Epilogue::Add { bias: None, residual: None } => Epilogue::None,
            other => other,
        }
    }

    /// Checks that its tensors fit C, `[m, n]`, and that what is written has memory of its own.
    pub(super) fn check(
        self,
        recorder: &Recorder,
        (a, b): (Operand<'_>, Operand<'_>),
        (c, m): (&Tensor, usize),
    ) -> Result<()> {
        let (bias, matrix) = match self {
            Epilogue::None => return Ok(()),
            Epilogue::Add { bias, residual } => (bias, residual.map(|t| ("residual", t))),
            Epilogue::Gelu { bias, before, .. } => (bias, Some(("before", before))),
            Epilogue::Act { bias, .. } => (bias, None),
        };
        let all = bias.map(|t| ("bias", t, 1)).into_iter().chain(matrix.map(|(name, t)| (name, t, m)));
        for (name, tensor, rows) in all {
            // What is kept may be as short as C; what is added is not.
            match (self, name, c.element_type()) {
                (Epilogue::Gelu { .. }, "before", ElementType::F16) => {
                    check_float_matrix(recorder, "matmul", (name, tensor), (rows, c.width()))?;
                }
                _ => check_matrix(recorder, "matmul", (name, tensor), (rows, c.width()))?,
            }
            if tensor.buffer().same(c.buffer()) {
                return Err(Error::shape("matmul", "c", "memory of its own", format!("that of {name}")));
            }
        }
        if let Epilogue::Gelu { bias, before, .. } = self {
            let mut others = [a.tensor(), b.tensor()].into_iter().chain(bias);
            if others.any(|t| t.buffer().same(before.buffer())) {
                return Err(Error::shape("matmul", "before", "memory of its own", "that of an operand"));
            }
        }
        Ok(())
    }

    /// The kernel with a multiplier's shader, the flags for the twin, the shader's overrides, and the buffers besides the product's:
    /// what is not there is `idle`, which nobody reads.
    pub(super) fn of(self, multiplier: Multiplier, idle: &Buffer) -> Fused {
        let buffer = |t: Option<&Tensor>| Some(t.map_or(idle, Tensor::buffer).clone());
        let flag = |t: Option<&Tensor>, bit| if t.is_some() { bit } else { 0 };
        let override_of = |t: Option<&Tensor>| f64::from(u8::from(t.is_some()));
        match self {
            Epilogue::None => Fused {
                kernel: matmul::kernel(multiplier),
                flags: 0,
                constants: vec![("BIAS", 0.0), ("RESIDUAL", 0.0)],
                buffers: [None, None],
                kept: ElementType::F32,
            },
            Epilogue::Add { bias, residual } => Fused {
                kernel: &ADD[multiplier as usize],
                flags: flag(bias, BIAS) | flag(residual, RESIDUAL),
                constants: vec![("BIAS", override_of(bias)), ("RESIDUAL", override_of(residual))],
                buffers: [buffer(bias), buffer(residual)],
                kept: ElementType::F32,
            },
            Epilogue::Gelu { form, bias, before } => Fused {
                kernel: &GELU[multiplier as usize],
                flags: flag(bias, BIAS) | (FORM * form.number()),
                constants: vec![("BIAS", override_of(bias)), ("FORM", f64::from(form.number()))],
                buffers: [buffer(bias), Some(before.buffer().clone())],
                kept: before.element_type(),
            },
            Epilogue::Act { act, bias } => Fused {
                kernel: &ACT[multiplier as usize],
                flags: flag(bias, BIAS) | (FORM * act.number()),
                constants: [&[("BIAS", override_of(bias))][..], &gate::constants(act)].concat(),
                buffers: [buffer(bias), None],
                kept: ElementType::F32,
            },
        }
    }
}

/// What a dispatch has for an epilogue.
pub(super) struct Fused {
    pub kernel: &'static KernelSpec,
    pub flags: u32,
    pub constants: Vec<Constant>,
    pub buffers: [Option<Buffer>; 2],
    /// The element type of what is kept from before GELU.
    pub kept: ElementType,
}
