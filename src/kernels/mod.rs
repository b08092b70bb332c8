//! The kernels: for each a specification (bindings, shader, host twin) and a thin wrapper that checks shapes and
//! records a dispatch. No policy lives here.
//!
//! | kernel | source | twin |
//! | --- | --- | --- |
//! | [`stats::moments`] | `shaders/stats/moments.wgsl` | `host::stats::moments` |
//! | [`stats::moment_weights`] | `shaders/stats/moment_weights.wgsl` | `host::stats::moment_weights` |
//! | [`stats::moment_columns`] | `shaders/stats/moment_columns.wgsl` | `host::stats::moment_columns` |
//! | [`stats::normalize`] | `shaders/stats/normalize.wgsl` | `host::stats::normalize` |
//! | [`align::apply`] | `shaders/align/apply.wgsl` | `host::align::apply` |
//! | [`align::c3`] | `shaders/align/c3.wgsl` | `host::align::c3` |
//! | [`geometry::nearest`] | `shaders/geometry/nearest.wgsl` and `nearest_*` | `host::geometry::nearest` |
//! | [`geometry::histogram`] | `shaders/geometry/histogram.wgsl` and `histogram_*` | `host::geometry::histogram` |
//! | [`nn`] | `shaders/nn/*.wgsl` | `host::nn` |
//! | [`optim`] | `shaders/optim/*.wgsl` | `host::optim` |
//! | [`mod@bench`] | `shaders/bench/*.wgsl` | `host::bench` |
//! | [`linalg::epilogue`] | `shaders/linalg/epilogue_*.wgsl` in those of `linalg::matmul` | `host::linalg::matmul` |
//! | [`linalg::matmul`] | `shaders/linalg/matmul_subgroup.wgsl`, `matmul_direct.wgsl`, `matmul_tiled.wgsl` | `host::linalg::matmul` |

pub mod align;
pub mod bench;
pub mod geometry;
pub mod linalg;
pub mod nn;
pub mod optim;
pub mod shader;
pub mod stats;

use crate::device::{Buffer, Capabilities, Device, DeviceKind, Dispatch, Recorder, Tensor};
use crate::error::{Problem, Remedy};
use crate::host::HostCall;
use crate::{ElementType, Error, Result};

/// How a kernel sees one of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// A small block of parameters, always binding 0.
    Uniform,
    /// A storage buffer that is only read.
    Read,
    /// Words that are only read, four to an entry: a storage buffer, or, where [`Capabilities::texel_reads`], its copy in a
    /// `texture_2d<u32>` of [`TEXEL_LINE`] texels a line.
    Texels,
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

    /// Words that are only read, as a storage buffer or a texture.
    pub const fn texels(index: u32, name: &'static str) -> Self {
        Self::new(index, name, BindingKind::Texels)
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
pub static ALL: &[&KernelSpec] = &[
    &stats::moments::SPEC,
    &stats::moment_weights::SPEC,
    &stats::moment_columns::SPEC,
    &stats::normalize::SPEC,
    &stats::power_sums::SPEC,
    &align::apply::SPEC,
    &align::c3::SPEC,
    &geometry::nearest::SPEC,
    &geometry::histogram::SPEC,
    &nn::gelu::FORWARD,
    &nn::gelu::BACKWARD,
    &nn::silu_gate::FORWARD,
    &nn::silu_gate::BACKWARD,
    &nn::elementwise::ADD,
    &nn::elementwise::SCALE,
    &nn::bias::SPEC,
    &nn::rms_norm::SPEC,
    &nn::layer_norm::SPEC,
    &nn::norm::SCALARS,
    &nn::norm::BACKWARD,
    &nn::norm::WEIGHT,
    &nn::rotary::SPEC,
    &nn::attention::FORWARD,
    &nn::attention::FORWARD_TILED,
    &nn::attention::DELTA,
    &nn::attention::QUERIES,
    &nn::attention::QUERIES_TILED,
    &nn::attention::KEYS,
    &nn::attention::KEYS_TILED,
    &nn::embedding::GATHER,
    &nn::embedding::SCATTER,
    &nn::cross_entropy::FORWARD,
    &nn::cross_entropy::FINISH,
    &nn::cross_entropy::BACKWARD,
    &nn::info_nce::SOFTMAX,
    &nn::info_nce::TERMS,
    &nn::info_nce::BACKWARD,
    &nn::pair_sigmoid::FORWARD,
    &nn::pair_sigmoid::BACKWARD,
    &optim::adamw::SPEC,
    &optim::norm::SQUARE_SUM,
    &optim::norm::CLIP,
    &linalg::matmul::SUBGROUP,
    &linalg::matmul::DIRECT,
    &linalg::matmul::TILED,
    &linalg::matmul::UNITS,
    &linalg::epilogue::ADD[0],
    &linalg::epilogue::ADD[1],
    &linalg::epilogue::ADD[2],
    &linalg::epilogue::ADD[3],
    &linalg::epilogue::GELU[0],
    &linalg::epilogue::GELU[1],
    &linalg::epilogue::GELU[2],
    &linalg::epilogue::GELU[3],
    &bench::copy::SPEC,
    &bench::fma::SPEC,
];

/// The binding of `common/grid.wgsl`, which every kernel may read and none declares.
pub const GRID_BINDING: u32 = 15;

/// Texels of four words in a line of a texture that stands for a buffer; the shaders' `*_texture.wgsl` know it too.
pub const TEXEL_LINE: u32 = 4096;

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
        ElementType::F64 => return Err(unsupported_on_device(rows)),
    };
    let out = match out {
        ElementType::F32 => "common/out_f32.wgsl",
        ElementType::F16 => "common/out_f16.wgsl",
        ElementType::BF16 => "common/out_bf16.wgsl",
        ElementType::F64 | ElementType::Fixed => return Err(unsupported_on_device(out)),
    };
    let (team, float_team) = match (caps.subgroup_teams, caps.lanes) {
        (true, _) => ("common/team_subgroup.wgsl", "common/float_team_subgroup.wgsl"),
        (false, 1) => ("common/team_portable.wgsl", "common/float_team_solo.wgsl"),
        (false, _) => ("common/team_portable.wgsl", "common/float_team_portable.wgsl"),
    };
    let (words4, words2, vectors) = if caps.texel_reads {
        ("common/rows_words4_texture.wgsl", "common/rows_words2_texture.wgsl", "common/vectors_texture.wgsl")
    } else {
        ("common/rows_words4_buffer.wgsl", "common/rows_words2_buffer.wgsl", "common/vectors_buffer.wgsl")
    };
    let (columns, nearest, histogram) = if caps.lanes == 1 {
        ("common/columns_solo.wgsl", "geometry/nearest_solo.wgsl", "geometry/histogram_solo.wgsl")
    } else {
        ("common/columns_teams.wgsl", "geometry/nearest_team.wgsl", "geometry/histogram_team.wgsl")
    };
    let product = if caps.int64 { "common/product_u64.wgsl" } else { "common/product_u32.wgsl" };
    Ok([
        ("rows", rows),
        ("row_words4", words4),
        ("row_words2", words2),
        ("vectors", vectors),
        ("table", table),
        ("unpack", unpack),
        ("out", out),
        ("team", team),
        ("float_team", float_team),
        ("columns", columns),
        ("nearest", nearest),
        ("histogram", histogram),
        ("product", product),
    ]
    .into_iter()
    .chain(operands(caps))
    .collect())
}

/// The file for the import `unpack`; it matters where elements have 16 bits.
fn unpack(element: ElementType) -> &'static str {
    if element == ElementType::F16 { "common/unpack_f16.wgsl" } else { "common/unpack_bf16.wgsl" }
}

/// Names for the imports of f32 operands, four elements to an entry, by their binding.
fn operands(caps: &Capabilities) -> [(&'static str, &'static str); 5] {
    if caps.texel_reads {
        [
            ("operand1", "common/operand1_texture.wgsl"),
            ("operand2", "common/operand2_texture.wgsl"),
            ("operand3", "common/operand3_texture.wgsl"),
            ("operand4", "common/operand4_texture.wgsl"),
            ("operand5", "common/operand5_texture.wgsl"),
        ]
    } else {
        [
            ("operand1", "common/operand1_buffer.wgsl"),
            ("operand2", "common/operand2_buffer.wgsl"),
            ("operand3", "common/operand3_buffer.wgsl"),
            ("operand4", "common/operand4_buffer.wgsl"),
            ("operand5", "common/operand5_buffer.wgsl"),
        ]
    }
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

/// One workgroup for each of `units` of work, and perhaps some more, in a grid of two sides.
fn grid(units: usize) -> [u32; 3] {
    let across = units.clamp(1, 65_535);
    [across as u32, units.div_ceil(across).max(1) as u32, 1]
}

/// Loop turns of one invocation that every driver completes. Mesa's CPU driver counts the turns of all loops together, and from
/// 65,535 on ends every loop silently.
const TURNS: usize = 65_000;

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

    /// The same where an operand has elements of type `rows`.
    fn elements_from(self, recorder: &mut Recorder, count: usize, rows: ElementType) -> Result<()> {
        let group = recorder.device().capabilities().group;
        self.dispatch(recorder, grid(count.div_ceil(group as usize)), rows)
    }

    /// That no invocation takes more than [`TURNS`] turns, `turns` for a team of one.
    fn check_turns(self, recorder: &Recorder, turns: usize) -> Result<Self> {
        let caps = recorder.device().capabilities();
        if caps.kind == DeviceKind::Software && turns > TURNS {
            return Err(Error::Unsupported {
                adapter: recorder.device().name().to_owned(),
                problem: Problem::new(format!(
                    "{}: {turns} turns of a loop, where drivers on the CPU end at {TURNS}",
                    self.kernel.name
                ))
                .remedy(Remedy::HostEngine),
            });
        }
        Ok(self)
    }

    /// One team for each of `units` rows.
    fn teams(self, recorder: &mut Recorder, units: usize) -> Result<()> {
        let grid = [groups(units.div_ceil(recorder.device().capabilities().teams())), 1, 1];
        self.dispatch(recorder, grid, ElementType::F32)
    }

    fn dispatch(self, recorder: &mut Recorder, groups: [u32; 3], rows: ElementType) -> Result<()> {
        let caps = recorder.device().capabilities();
        let mut params = self.params.to_vec();
        params.resize(params.len().next_multiple_of(16), 0);
        record_in_parts(
            recorder,
            Dispatch {
                kernel: self.kernel,
                imports: imports(caps, rows, ElementType::F32)?,
                constants: [team_constants(caps), self.constants.to_vec()].concat(),
                params,
                buffers: self.buffers.iter().map(|&b| b.clone()).collect(),
                elements: (rows, ElementType::F32),
                groups,
                part: None,
            },
        )
    }
}

/// Records a kernel; one that reads `common/grid.wgsl`, in as many parts as keep each within [`Capabilities::dispatch_bytes`]. Work
/// counts as the bytes of its buffers, evenly over the grid; the host engine has no limit and takes all at once.
fn record_in_parts(recorder: &mut Recorder, dispatch: Dispatch) -> Result<()> {
    let caps = recorder.device().capabilities();
    let moved = |(binding, buffer): (&Binding, &Buffer)| {
        buffer.bytes().saturating_mul(if binding.kind == BindingKind::ReadWrite { 2 } else { 1 })
    };
    let bytes = dispatch.kernel.bindings[1..].iter().zip(&dispatch.buffers).map(moved).fold(0, u64::saturating_add);
    let whole: u64 = dispatch.groups.iter().map(|&side| u64::from(side)).product();
    let parts = bytes.div_ceil(caps.dispatch_bytes).clamp(1, whole.max(1));
    // A kernel that counts its workgroups by itself, and is cut by itself, cannot be cut here.
    let reads_grid = || -> Result<bool> {
        Ok(shader::expand(dispatch.kernel.source, &dispatch.imports)?.contains("var<uniform> grid: Grid"))
    };
    if parts == 1 || caps.kind == DeviceKind::Host || !reads_grid()? {
        return recorder.dispatch(dispatch);
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
        recorder.dispatch(Dispatch { groups, part: Some([first as u32, whole as u32]), ..dispatch.clone() })?;
    }
    Ok(())
}

/// That `tensor` is f32 `[rows, width]` of the recorder's device.
fn check_matrix(
    recorder: &Recorder,
    operation: &'static str,
    (name, tensor): (&'static str, &Tensor),
    (rows, width): (usize, usize),
) -> Result<()> {
    check_device(operation, recorder.device(), &[tensor])?;
    if (tensor.rows(), tensor.width(), tensor.element_type()) != (rows, width, ElementType::F32) {
        let got = format!("[{}, {}] {}", tensor.rows(), tensor.width(), tensor.element_type());
        return Err(Error::shape(operation, name, format!("[{rows}, {width}] f32"), got));
    }
    Ok(())
}

/// That `buffer` holds at least `words` words of 4 bytes and is the recorder's device's.
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

/// That what a kernel writes, the last `written` of `buffers`, is bound once.
fn check_written(operation: &'static str, buffers: &[&Buffer], written: usize) -> Result<()> {
    let first = buffers.len() - written;
    for (i, out) in buffers.iter().enumerate().skip(first) {
        if buffers[..i].iter().any(|b| b.same(out)) {
            return Err(Error::shape(operation, "output", "memory of its own", "that of another operand"));
        }
    }
    Ok(())
}

/// That rows are as many as the kernels' 32-bit indices of vectors of 4 reach.
fn check_index(operation: &'static str, tensor: &Tensor) -> Result<u32> {
    u32::try_from(tensor.rows() * tensor.width4()).ok().filter(|&n| n < u32::MAX - (1 << 16)).ok_or_else(|| {
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
