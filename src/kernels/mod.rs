//! The kernels: for each a specification (bindings, shader, host twin) and a thin wrapper that checks shapes and
//! records a dispatch. No policy lives here.
//!
//! | kernel | source | twin |
//! | --- | --- | --- |
//! | [`stats::moments`] | `shaders/stats/moments.wgsl` | `host::stats::moments` |
//! | [`stats::normalize`] | `shaders/stats/normalize.wgsl` | `host::stats::normalize` |
//! | [`align::apply`] | `shaders/align/apply.wgsl` | `host::align::apply` |
//! | [`align::c3`] | `shaders/align/c3.wgsl` | `host::align::c3` |
//! | [`linalg::matmul`] | `shaders/linalg/matmul_direct.wgsl`, `matmul_tiled.wgsl` | `host::linalg::matmul` |

pub mod align;
pub mod linalg;
pub mod shader;
pub mod stats;

use crate::device::{Capabilities, Device, Tensor};
use crate::host::HostCall;
use crate::{ElementType, Error, Result};

/// How a kernel sees one of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// A small block of parameters, always binding 0.
    Uniform,
    /// A storage buffer that is only read.
    Read,
    /// A storage buffer that is read and written.
    ReadWrite,
}

/// One entry of a kernel's only bind group; its index is its place in [`KernelSpec::bindings`].
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The variable's name in the shader.
    pub name: &'static str,
    /// How it is accessed.
    pub kind: BindingKind,
    /// The binding index in the shader.
    pub index: u32,
}

impl Binding {
    const fn new(index: u32, name: &'static str, kind: BindingKind) -> Self {
        Binding { name, kind, index }
    }

    /// The parameter block, binding 0.
    pub const fn uniform(name: &'static str) -> Self {
        Self::new(0, name, BindingKind::Uniform)
    }

    /// A storage buffer that is only read.
    pub const fn read(index: u32, name: &'static str) -> Self {
        Self::new(index, name, BindingKind::Read)
    }

    /// A storage buffer that is read and written.
    pub const fn read_write(index: u32, name: &'static str) -> Self {
        Self::new(index, name, BindingKind::ReadWrite)
    }
}

/// Everything that an engine must know of a kernel. Apps may make their own: see `examples/custom_kernel.rs`.
#[derive(Debug)]
pub struct KernelSpec {
    /// Unique name; shown in errors and timings.
    pub name: &'static str,
    /// WGSL with an entry point `main`; `#import` lines are resolved by [`shader::expand`].
    pub source: &'static str,
    /// The bind group's entries, the uniform first.
    pub bindings: &'static [Binding],
    /// The same computation on the host's memory.
    pub twin: fn(&mut HostCall<'_>) -> Result<()>,
}

/// All kernels of this crate; tests validate each against naga's reflection in every variant.
pub static ALL: [&KernelSpec; 6] = [
    &stats::moments::SPEC,
    &stats::normalize::SPEC,
    &align::apply::SPEC,
    &align::c3::SPEC,
    &linalg::matmul::DIRECT,
    &linalg::matmul::TILED,
];

/// Longest row, in elements: what the integer formats of [`stats::moments`] allow.
pub const MAX_WIDTH: usize = 65_536;

/// Names for the imports that differ by element type and device.
pub fn imports(caps: &Capabilities, rows: ElementType, out: ElementType) -> Result<Vec<(&'static str, &'static str)>> {
    let rows = match rows {
        ElementType::F32 => "common/rows_f32.wgsl",
        ElementType::F16 => "common/rows_f16.wgsl",
        ElementType::BF16 => "common/rows_bf16.wgsl",
        ElementType::Fixed => "common/rows_fixed.wgsl",
        ElementType::F64 => return Err(unsupported_on_device(rows)),
    };
    let out = match out {
        ElementType::F32 => "common/out_f32.wgsl",
        ElementType::F16 => "common/out_f16.wgsl",
        ElementType::BF16 => "common/out_bf16.wgsl",
        ElementType::F64 | ElementType::Fixed => return Err(unsupported_on_device(out)),
    };
    let (team, float_team) = if caps.subgroup_teams {
        ("common/team_subgroup.wgsl", "common/float_team_subgroup.wgsl")
    } else {
        ("common/team_portable.wgsl", "common/float_team_portable.wgsl")
    };
    let product = if caps.int64 { "common/product_u64.wgsl" } else { "common/product_u32.wgsl" };
    Ok(vec![("rows", rows), ("out", out), ("team", team), ("float_team", float_team), ("product", product)])
}

fn unsupported_on_device(element: ElementType) -> Error {
    Error::argument("element type", format!("{element} has no device form; use f32, f16, bf16 or fixed"))
}

/// The overrides of every row kernel.
fn team_constants(caps: &Capabilities) -> Vec<(&'static str, f64)> {
    vec![("GROUP", f64::from(caps.group)), ("LANES", f64::from(caps.lanes))]
}

/// Workgroups for `units` of work: one each, up to what a dispatch may hold; the kernels stride over the rest.
fn groups(units: usize) -> u32 {
    // Invariant: the minimum fits u32.
    units.clamp(1, 65_535) as u32
}

fn check_rows(operation: &'static str, tensor: &Tensor, rows: usize) -> Result<()> {
    if rows > tensor.rows() {
        return Err(Error::shape(operation, "rows", format!("at most {}", tensor.rows()), rows));
    }
    Ok(())
}

fn check_same_shape(operation: &'static str, input: &Tensor, output: &Tensor) -> Result<()> {
    if input.width() != output.width() || output.rows() < input.rows() {
        let want = format!("[{}, {}]", input.rows(), input.width());
        return Err(Error::shape(operation, "output", want, format!("[{}, {}]", output.rows(), output.width())));
    }
    Ok(())
}

fn check_device(operation: &'static str, device: &Device, tensors: &[&Tensor]) -> Result<()> {
    match tensors.iter().find(|t| !t.buffer().belongs_to(device)) {
        Some(_) => Err(Error::shape(operation, "tensor", "the recorder's device", "another device")),
        None => Ok(()),
    }
}
