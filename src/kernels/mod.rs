//! The kernels: for each a specification (bindings, shader, host twin) and a thin wrapper that checks shapes and
//! records a dispatch. No policy lives here.
//!
//! | kernel | source | twin |
//! | --- | --- | --- |
//! | [`stats::moments`] | `shaders/stats/moments.wgsl` | `host::stats::moments` |
//! | [`stats::moment_weights`] | `shaders/stats/moment_weights.wgsl` | `host::stats::moment_weights` |
//! | [`stats::moment_columns`] | `shaders/stats/moment_columns.wgsl` | `host::stats::moment_columns` |
//! | [`stats::power_sums`] | `shaders/stats/power_sums.wgsl` | `host::stats::power_sums` |
//! | [`stats::normalize`] | `shaders/stats/normalize.wgsl` | `host::stats::normalize` |
//! | [`align::apply`] | `shaders/align/apply.wgsl` | `host::align::apply` |
//! | [`align::c3`] | `shaders/align/c3.wgsl` | `host::align::c3` |
//! | [`align::radial`] | `shaders/align/radial.wgsl` | `host::align::radial` |
//! | [`align::phase_features`] | `shaders/align/phase_features.wgsl` | `host::align::phase_features` |
//! | [`align::phase_noise`] | `shaders/align/phase_noise*.wgsl` | `host::align::phase_noise` |
//! | [`align::phase_turn`] | `shaders/align/phase_turn*.wgsl` | `host::align::phase_turn` |
//! | [`geometry::nearest`] | `shaders/geometry/nearest.wgsl` and `nearest_*` | `host::geometry::nearest` |
//! | [`geometry::histogram`] | `shaders/geometry/histogram.wgsl` and `histogram_*` | `host::geometry::histogram` |
//! | [`geometry::angles`] | `shaders/geometry/angle_cross.wgsl`, `angle_columns.wgsl` | `host::geometry::angles` |
//! | [`geometry::jacobi`] | `shaders/geometry/jacobi.wgsl`, `jacobi_norms.wgsl` | `host::geometry::jacobi` |
//! | [`nn`] | `shaders/nn/*.wgsl` | `host::nn` |
//! | [`optim`] | `shaders/optim/*.wgsl` | `host::optim` |
//! | [`picture`] | `shaders/picture/*.wgsl` | `host::picture` |
//! | [`mod@bench`] | `shaders/bench/*.wgsl` | `host::bench` |
//! | [`linalg::epilogue`] | `shaders/linalg/epilogue_*.wgsl` in those of `linalg::matmul` | `host::linalg::matmul` |
//! | [`linalg::exact_product`] | `shaders/linalg/exact_product.wgsl` | `host::linalg::exact_product` |
//! | [`linalg::matmul`] | `shaders/linalg/matmul_subgroup.wgsl`, `matmul_direct.wgsl`, `matmul_tiled.wgsl` | `host::linalg::matmul` |

pub mod align;
pub mod bench;
mod catalogue;
pub mod geometry;
pub mod linalg;
pub mod nn;
pub mod optim;
pub mod picture;
mod row_shape;
pub mod stats;

use crate::device::{Buffer, Device, Dispatch, Recorder, Tensor};
use crate::error::{Problem, Remedy};
use crate::spec::{Capabilities, Choice, DeviceKind, Import, Variant};
pub use catalogue::ALL;
pub use row_shape::RowShape;

pub use crate::spec::{Binding, BindingKind, GRID_BINDING, KernelSpec, TEXEL_LINE, shader};
use crate::{ElementType, Error, Result};

/// Longest row, in elements: what the integer formats of [`stats::moments`] allow.
pub const MAX_WIDTH: usize = 65_536;

/// Names for the imports that differ by element type and device.
pub fn imports(caps: &Capabilities, rows: ElementType, out: ElementType) -> Result<Vec<(&'static str, &'static str)>> {
    let table = if rows.bytes() == 2 { "nn/table_words2.wgsl" } else { "nn/table_words4.wgsl" };
    let unpack = unpack(rows);
    let rows = match rows {
        ElementType::F32 => "common/rows_f32.wgsl",
        ElementType::F16 => "common/rows_f16.wgsl",
        ElementType::BF16 => "common/rows_bf16.wgsl",
        ElementType::Fixed => "common/rows_fixed.wgsl",
        ElementType::F64 | ElementType::Q8_0 => return Err(unsupported_on_device(rows)),
    };
    let parameters = if out == ElementType::BF16 { "optim/parameters_bf16.wgsl" } else { "optim/parameters_f32.wgsl" };
    let out = match out {
        ElementType::F32 => "common/out_f32.wgsl",
        ElementType::F16 => "common/out_f16.wgsl",
        ElementType::BF16 => "common/out_bf16.wgsl",
        ElementType::F64 | ElementType::Fixed | ElementType::Q8_0 => return Err(unsupported_on_device(out)),
    };
    let (team, float_team) = match (caps.subgroup_teams, caps.lanes) {
        (true, _) => ("common/team_subgroup.wgsl", "common/float_team_subgroup.wgsl"),
        (false, 1) => ("common/team_portable.wgsl", "common/float_team_solo.wgsl"),
        (false, _) => ("common/team_portable.wgsl", "common/float_team_portable.wgsl"),
    };
    let [words4, words2, vectors, operand] = if caps.texel_reads {
        [
            "common/rows_words4_texture.wgsl",
            "common/rows_words2_texture.wgsl",
            "common/vectors_texture.wgsl",
            "common/operand_texture.wgsl",
        ]
    } else {
        [
            "common/rows_words4_buffer.wgsl",
            "common/rows_words2_buffer.wgsl",
            "common/vectors_buffer.wgsl",
            "common/operand_buffer.wgsl",
        ]
    };
    let [held, columns, nearest, histogram] = if caps.lanes == 1 {
        [
            "common/held_solo.wgsl",
            "common/columns_solo.wgsl",
            "geometry/nearest_solo.wgsl",
            "geometry/histogram_solo.wgsl",
        ]
    } else {
        [
            "common/held_team.wgsl",
            "common/columns_teams.wgsl",
            "geometry/nearest_team.wgsl",
            "geometry/histogram_team.wgsl",
        ]
    };
    let product = if caps.int64 { "common/product_u64.wgsl" } else { "common/product_u32.wgsl" };
    Ok(vec![
        ("rows", rows),
        ("row_words4", words4),
        ("row_words2", words2),
        ("vectors", vectors),
        ("operand", operand),
        ("input", "common/operand_buffer.wgsl"),
        ("result", "common/result_f32.wgsl"),
        ("inout", "common/inout_f32.wgsl"),
        ("table", table),
        ("unpack", unpack),
        ("out", out),
        ("team", team),
        ("float_team", float_team),
        ("held", held),
        ("columns", columns),
        ("nearest", nearest),
        ("histogram", histogram),
        ("product", product),
        ("parameters", parameters),
    ])
}

/// The file for the import `unpack`; it matters where elements have 16 bits.
fn unpack(element: ElementType) -> &'static str {
    if element == ElementType::F16 { "common/unpack_f16.wgsl" } else { "common/unpack_bf16.wgsl" }
}

fn unsupported_on_device(element: ElementType) -> Error {
    Error::argument("element type", format!("{element} rows have no kernel here; use f32, f16, bf16 or fixed"))
}

/// The variant of a kernel whose teams have this shape, for rows of these types: the device's files, its teams, and `constants`; `own` are
/// files that it has before the device's.
fn row_variant(
    device: &Device,
    elements: (ElementType, ElementType),
    shape: RowShape,
    own: &[Import],
    constants: &[(&'static str, f64)],
) -> Result<Variant> {
    let caps = device.capabilities();
    let constants = &[&shape.constants(caps)[..], constants].concat()[..];
    device.variant_for(Choice { family: "rows", elements, imports: own, constants }, || {
        Ok(([own, &imports(caps, elements.0, elements.1)?].concat(), constants.to_vec()))
    })
}

/// The files by which a shader reads and writes those of its storage buffers that hold f16, bit `i` of `halves` for buffer `i`.
fn half_imports(caps: &Capabilities, kernel: &KernelSpec, halves: u32) -> Vec<Import> {
    const INPUT: [&str; 9] = ["input0", "input1", "input2", "input3", "input4", "input5", "input6", "input7", "input8"];
    const OPERAND: [&str; 9] =
        ["operand0", "operand1", "operand2", "operand3", "operand4", "operand5", "operand6", "operand7", "operand8"];
    const RESULT: [&str; 9] =
        ["result0", "result1", "result2", "result3", "result4", "result5", "result6", "result7", "result8"];
    const INOUT: [&str; 9] = ["inout0", "inout1", "inout2", "inout3", "inout4", "inout5", "inout6", "inout7", "inout8"];
    let storage = kernel.bindings.iter().skip(1).enumerate();
    let half = storage.filter(|(i, binding)| halves >> i & 1 == 1 && (binding.index as usize) < 9);
    half.flat_map(|(_, binding)| {
        let n = binding.index as usize;
        let (buffer, texture) = ("common/operand_half_buffer.wgsl", "common/operand_half_texture.wgsl");
        match binding.kind {
            BindingKind::Uniform => vec![],
            BindingKind::Read => vec![(INPUT[n], buffer)],
            BindingKind::Texels => vec![(OPERAND[n], if caps.texel_reads { texture } else { buffer })],
            BindingKind::ReadWrite => {
                vec![(RESULT[n], "common/result_f16.wgsl"), (INOUT[n], "common/inout_f16.wgsl")]
            }
        }
    })
    .collect()
}

/// Which of some tensors are f16, bit `i` for the tensor `i`.
fn halves_of<const N: usize>(tensors: [&Tensor; N]) -> u32 {
    let bit = |(i, tensor): (usize, &Tensor)| u32::from(tensor.element_type() == ElementType::F16) << i;
    tensors.into_iter().enumerate().map(bit).sum()
}

/// Workgroups for `units` of work: one each, up to what a dispatch may hold; the kernels stride over the rest.
fn groups(units: usize) -> u32 {
    // Invariant: the minimum fits u32.
    units.clamp(1, 65_535) as u32
}

/// One workgroup for each of `units` of work, and perhaps some more, in a grid of two sides.
fn grid(units: usize) -> [u32; 3] {
    let across = units.clamp(1, 65_535);
    [across as u32, units.div_ceil(across).max(1) as u32, 1]
}

/// Iterations of one invocation that every driver completes. Mesa's CPU driver counts the iterations of all loops together, and from
/// 65,535 on ends every loop silently.
const MAX_ITERATIONS: usize = 65_000;

/// Rows and results in f32.
const FLOATS: (ElementType, ElementType) = (ElementType::F32, ElementType::F32);

/// A kernel on f32 operands, ready but for its grid.
struct Work<'a> {
    kernel: &'static KernelSpec,
    params: &'a [u8],
    buffers: &'a [&'a Buffer],
    constants: &'a [(&'static str, f64)],
}

impl Work<'_> {
    /// One invocation for each of `count` entries, see `shaders/common/elements.wgsl`.
    fn elements(self, recorder: &mut Recorder, count: usize) -> Result<()> {
        self.elements_from(recorder, count, ElementType::F32)
    }

    /// The same with f16 in the storage buffers that `halves` has bits for.
    fn elements_halves(self, recorder: &mut Recorder, count: usize, halves: u32) -> Result<()> {
        let group = recorder.device().capabilities().group;
        self.dispatch_halves(recorder, grid(count.div_ceil(group as usize)), (ElementType::F32, halves))
    }

    /// The same where an operand has elements of type `rows`.
    fn elements_from(self, recorder: &mut Recorder, count: usize, rows: ElementType) -> Result<()> {
        let group = recorder.device().capabilities().group;
        self.dispatch(recorder, grid(count.div_ceil(group as usize)), rows)
    }

    /// As [`Self::elements`], where what is written has elements of type `out`.
    fn elements_to(self, recorder: &mut Recorder, count: usize, out: ElementType) -> Result<()> {
        let group = recorder.device().capabilities().group;
        self.dispatch_to(recorder, grid(count.div_ceil(group as usize)), out)
    }

    /// Checks that no invocation takes more than [`MAX_ITERATIONS`] iterations, `iterations` for a team of one.
    fn check_iterations(self, recorder: &Recorder, iterations: usize) -> Result<Self> {
        let caps = recorder.device().capabilities();
        if caps.kind == DeviceKind::Software && iterations > MAX_ITERATIONS {
            return Err(Error::Unsupported {
                adapter: recorder.device().name().to_owned(),
                problem: Problem::new(format!(
                    "{}: {iterations} iterations of a loop, where drivers on the CPU end at {MAX_ITERATIONS}",
                    self.kernel.name
                ))
                .remedy(Remedy::HostEngine),
            });
        }
        Ok(self)
    }

    /// One team for each of `rows` rows of `width4` vectors.
    fn rows(self, recorder: &mut Recorder, rows: usize, width4: usize) -> Result<()> {
        self.rows_halves(recorder, (rows, width4), 0)
    }

    /// The same with f16 in the storage buffers that `halves` has bits for.
    fn rows_halves(self, recorder: &mut Recorder, (rows, width4): (usize, usize), halves: u32) -> Result<()> {
        let shape = RowShape::of(recorder.device().capabilities(), width4);
        self.shaped(recorder, [shape.groups(rows), 1, 1], (FLOATS, halves), (shape, &[]))
    }

    fn dispatch(self, recorder: &mut Recorder, groups: [u32; 3], rows: ElementType) -> Result<()> {
        self.dispatch_halves(recorder, groups, (rows, 0))
    }

    /// With f16 in the storage buffers that `halves` has bits for.
    fn dispatch_halves(
        self,
        recorder: &mut Recorder,
        groups: [u32; 3],
        (rows, halves): (ElementType, u32),
    ) -> Result<()> {
        let shape = RowShape::plain(recorder.device().capabilities());
        self.shaped(recorder, groups, ((rows, ElementType::F32), halves), (shape, &[]))
    }

    /// The same on f32 rows, with these files for imports of its own.
    fn dispatch_with(self, recorder: &mut Recorder, groups: [u32; 3], (halves, files): (u32, &[Import])) -> Result<()> {
        let shape = RowShape::plain(recorder.device().capabilities());
        self.shaped(recorder, groups, (FLOATS, halves), (shape, files))
    }

    /// One team for each of `units` rows, whose results have elements of type `out`.
    fn teams_to(self, recorder: &mut Recorder, units: usize, out: ElementType) -> Result<()> {
        let grid = [groups(units.div_ceil(recorder.device().capabilities().teams())), 1, 1];
        self.dispatch_to(recorder, grid, out)
    }

    /// With results of elements of type `out`.
    fn dispatch_to(self, recorder: &mut Recorder, groups: [u32; 3], out: ElementType) -> Result<()> {
        let shape = RowShape::plain(recorder.device().capabilities());
        self.shaped(recorder, groups, ((ElementType::F32, out), 0), (shape, &[]))
    }

    /// With teams of this shape, and these files for imports of its own.
    fn shaped(
        self,
        recorder: &mut Recorder,
        groups: [u32; 3],
        (elements, halves): ((ElementType, ElementType), u32),
        (shape, files): (RowShape, &[Import]),
    ) -> Result<()> {
        let mut own = half_imports(recorder.device().capabilities(), self.kernel, halves);
        own.extend_from_slice(files);
        let mut files = elements;
        if files.0 == ElementType::Q8_0 {
            // Only a table has such rows.
            own.push(("table", "nn/table_q8.wgsl"));
            files.0 = ElementType::F32;
        }
        let variant = row_variant(recorder.device(), files, shape, &own, self.constants)?;
        let mut dispatch = Dispatch::new(self.kernel).variant(variant).groups(groups).elements(elements.0, elements.1);
        dispatch.params = self.params.to_vec();
        dispatch.params.resize(self.params.len().next_multiple_of(16), 0);
        record_in_parts(recorder, dispatch.buffers(self.buffers.iter().copied()).halves(halves))
    }
}

/// Records a kernel; one that reads `common/grid.wgsl`, in as many parts as keep each within [`Capabilities::dispatch_bytes`]. Work
/// counts as the bytes of its buffers, evenly over the grid; the host engine has no limit and takes all at once.
fn record_in_parts(recorder: &mut Recorder, dispatch: Dispatch) -> Result<()> {
    record_operations_in_parts(recorder, dispatch, 0)
}

/// The same for a kernel of so many operations, which stay within [`Capabilities::dispatch_flops`], too.
fn record_operations_in_parts(recorder: &mut Recorder, dispatch: Dispatch, operations: u64) -> Result<()> {
    let caps = recorder.device().capabilities();
    let moved = |(binding, buffer): (&Binding, &Buffer)| {
        buffer.bytes().saturating_mul(if binding.kind == BindingKind::ReadWrite { 2 } else { 1 })
    };
    let bytes = dispatch.kernel.bindings[1..].iter().zip(&dispatch.buffers).map(moved).fold(0, u64::saturating_add);
    let whole: u64 = dispatch.groups.iter().map(|&side| u64::from(side)).product();
    let parts = bytes.div_ceil(caps.dispatch_bytes).max(operations.div_ceil(caps.dispatch_flops));
    let parts = parts.clamp(1, whole.max(1));
    // A kernel that counts its workgroups by itself, and is cut by itself, cannot be cut here.
    if parts == 1 || caps.kind == DeviceKind::Host || !dispatch.kernel.grid {
        return recorder.dispatch_trusted(dispatch);
    }
    let mut each = whole.div_ceil(parts);
    if each > 65_535 {
        // In full lines: a part must not run into the next.
        each = each.next_multiple_of(65_535);
    }
    for first in (0..whole).step_by(each as usize) {
        let count = each.min(whole - first);
        let across = count.min(65_535);
        let groups = [across as u32, count.div_ceil(across) as u32, 1];
        // A grid has two sides of at most 65,535 workgroups: their number fits 32 bits.
        recorder.dispatch_trusted(Dispatch { groups, part: Some([first as u32, whole as u32]), ..dispatch.clone() })?;
    }
    Ok(())
}

/// Checks that `tensor` is f32 `[rows, width]` of the recorder's device.
fn check_matrix(
    recorder: &Recorder,
    operation: &'static str,
    (name, tensor): (&'static str, &Tensor),
    (rows, width): (usize, usize),
) -> Result<()> {
    check_matrix_of(recorder, operation, (name, tensor), (rows, width), &[ElementType::F32])
}

/// Checks that `tensor` is f32 or f16 `[rows, width]` of the recorder's device.
fn check_float_matrix(
    recorder: &Recorder,
    operation: &'static str,
    tensor: (&'static str, &Tensor),
    shape: (usize, usize),
) -> Result<()> {
    check_matrix_of(recorder, operation, tensor, shape, &[ElementType::F32, ElementType::F16])
}

fn check_matrix_of(
    recorder: &Recorder,
    operation: &'static str,
    (name, tensor): (&'static str, &Tensor),
    (rows, width): (usize, usize),
    elements: &[ElementType],
) -> Result<()> {
    check_device(operation, recorder.device(), &[tensor])?;
    if (tensor.rows(), tensor.width()) != (rows, width) || !elements.contains(&tensor.element_type()) {
        let names: Vec<_> = elements.iter().map(|element| element.name()).collect();
        let got = format!("[{}, {}] {}", tensor.rows(), tensor.width(), tensor.element_type());
        return Err(Error::shape(operation, name, format!("[{rows}, {width}] {}", names.join(" or ")), got));
    }
    Ok(())
}

/// Checks that `buffer` holds at least `words` words of 4 bytes and is the recorder's device's.
fn check_words(
    recorder: &Recorder,
    operation: &'static str,
    (name, buffer): (&'static str, &Buffer),
    words: usize,
) -> Result<()> {
    if !buffer.belongs_to(recorder.device()) {
        return Err(Error::shape(operation, name, "a buffer of the recorder's device", "another device's"));
    }
    if buffer.bytes() / 4 < words as u64 {
        return Err(Error::shape(operation, name, format!("{words} words"), format!("{} bytes", buffer.bytes())));
    }
    Ok(())
}

/// Checks that what a kernel writes, the last `written` of `buffers`, is bound once.
fn check_written(operation: &'static str, buffers: &[&Buffer], written: usize) -> Result<()> {
    let first = buffers.len() - written;
    for (i, out) in buffers.iter().enumerate().skip(first) {
        if buffers[..i].iter().any(|b| b.same(out)) {
            return Err(Error::shape(operation, "output", "memory of its own", "that of another operand"));
        }
    }
    Ok(())
}

/// Checks that rows are as many as the kernels' 32-bit indices of vectors of 4 reach.
fn check_index(operation: &'static str, tensor: &Tensor) -> Result<u32> {
    u32::try_from(tensor.rows() * tensor.width4()).ok().filter(|&n| n < u32::MAX - (1 << 21)).ok_or_else(|| {
        let got = format!("[{}, {}]", tensor.rows(), tensor.width());
        Error::shape(operation, "tensor", "fewer than 2^34 elements; split the rows", got)
    })
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
