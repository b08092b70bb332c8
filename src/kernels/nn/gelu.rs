//! GELU: `y = x Φ(x)`, exactly, by tanh, or by the logistic function.
//!
//! Bytes: forward 8 per element, backward 12. FLOPs: about 30 and 45.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_written};
use crate::Result;
use crate::device::{Recorder, Tensor};
pub use crate::host::nn::gelu::Form;
use crate::host::nn::gelu::Params;
use crate::spec::in_range;
use crate::spec::shader::source;

/// The forward kernel.
pub static FORWARD: KernelSpec = KernelSpec::new(
    "gelu",
    source!("nn/gelu.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "x"), Binding::read_write(2, "y")],
    crate::host::nn::gelu::forward_twin,
)
.with_grid()
.with_overrides(&["FORM", "GROUP"])
.trusted(in_range::ELEMENTS);

/// The backward kernel.
pub static BACKWARD: KernelSpec = KernelSpec::new(
    "gelu backward",
    source!("nn/gelu_backward.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "x"), Binding::read(2, "dy"), Binding::read_write(3, "dx")],
    crate::host::nn::gelu::backward_twin,
)
.with_grid()
.with_overrides(&["FORM", "GROUP"])
.trusted(in_range::ELEMENTS);

fn record(
    recorder: &mut Recorder,
    form: Form,
    kernel: &'static KernelSpec,
    tensors: &[(&'static str, &Tensor)],
) -> Result<()> {
    let x = tensors[0].1;
    for &tensor in tensors {
        check_matrix(recorder, kernel.name, tensor, (x.rows(), x.width()))?;
    }
    let buffers: Vec<_> = tensors.iter().map(|(_, t)| t.buffer()).collect();
    check_written(kernel.name, &buffers, 1)?;
    let count = check_index(kernel.name, x)?;
    if count == 0 {
        return Ok(());
    }
    let form = form.number();
    let params = Params { count, form };
    let constants = [("FORM", f64::from(form))];
    Work { kernel, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &constants }
        .elements(recorder, count as usize)
}

/// Records `y = gelu(x)`, both `[n, d]` f32.
///
/// # Errors
/// Shapes that differ, other element types, `y` the memory of `x`, another device's tensors.
pub fn forward(recorder: &mut Recorder, form: Form, x: &Tensor, y: &Tensor) -> Result<()> {
    record(recorder, form, &FORWARD, &[("x", x), ("y", y)])
}

/// Records `dx = dy gelu'(x)`, all `[n, d]` f32; `x` is the forward's input.
///
/// # Errors
/// As [`forward`].
pub fn backward(recorder: &mut Recorder, form: Form, x: &Tensor, dy: &Tensor, dx: &Tensor) -> Result<()> {
    record(recorder, form, &BACKWARD, &[("x", x), ("dy", dy), ("dx", dx)])
}
