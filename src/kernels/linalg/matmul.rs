//! Matrix product: `C = alpha op(A) op(B)`, or that added to C; op is the identity or the transposition. A is f32 or f16, B f32, f16, bf16 or Q8_0, C
//! f32 or f16. Operands are widened to f32 as they are read, sums and epilogues are f32, and a C of f16 is rounded to nearest even once, at the
//! end: beyond 65,504 and half an ulp it is infinite.
//!
//! Four shaders compute it. [`SUBGROUP`] is for adapters that run on a CPU and have subgroups: 32 × 32 results to a subgroup of
//! 8, operands from textures where a driver reads those faster than storage. [`DIRECT`] is for those without: 16 × 8 results to
//! an invocation. [`TILED`] is for GPUs: tiles of 32, 64 or 128 in workgroup memory, up to 8 × 8 results to an invocation. [`COOPERATIVE`] is for
//! tensor cores, where they are asked for: products of two f16 operands, whose terms are exact there, or all. Which one, [`tiles`](crate::spec::tiles) says. The host engine multiplies with faer. Sums are
//! f32 in order of k (faer: in blocks of k; the first two in fours; the last two, where tiles are few and k is long, in layers of k that are
//! then added up).
//!
//! FLOPs: 2 m n k, about half with [`Product::upper`]. Bytes, at least: each operand once, C once (twice if accumulated), of 4 or 2 bytes an
//! element each, or 17/16 (Q8_0).

use super::super::nn::{bias, elementwise};
use super::super::{Binding, KernelSpec, check_device, halves_of};
use super::epilogue::Epilogue;
use crate::device::{DeviceKind, Dispatch, Recorder, Tensor};
use crate::host::linalg::matmul::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::spec::{Capabilities, Choice, Class, Import, Multiplier, Tile, Tiling};
use crate::{ElementType, Error, Result};

const BINDINGS: &[Binding] = &[
    Binding::uniform("params"),
    Binding::texels(1, "operand1"),
    Binding::texels(2, "operand2"),
    Binding::read_write(3, "inout3"),
];

/// The kernel for adapters that run on a CPU and have subgroups of [`SUBGROUP_LANES`] or more.
pub static SUBGROUP: KernelSpec = KernelSpec::new(
    "matmul subgroup",
    source!("linalg/matmul_subgroup.wgsl"),
    BINDINGS,
    crate::host::linalg::matmul::twin,
)
.with_overrides(&["TRANSPOSE_A", "TRANSPOSE_B", "ACCUMULATE", "UPPER"])
.with_imports(&[("epilogue", "linalg/epilogue_none.wgsl")])
.trusted(in_range::PRODUCTS)
.for_cpus();

pub use crate::spec::tiles::{COOPERATIVE_LANES, SUBGROUP_LANES};

/// The kernel for other adapters that run on a CPU.
pub static DIRECT: KernelSpec =
    KernelSpec::new("matmul direct", source!("linalg/matmul_direct.wgsl"), BINDINGS, crate::host::linalg::matmul::twin)
        .with_overrides(&["TRANSPOSE_A", "TRANSPOSE_B", "ACCUMULATE", "UPPER"])
        .with_imports(&[("epilogue", "linalg/epilogue_none.wgsl")])
        .trusted(in_range::PRODUCTS)
        .for_cpus();

/// The kernel for GPUs.
pub static TILED: KernelSpec =
    KernelSpec::new("matmul tiled", source!("linalg/matmul_tiled.wgsl"), BINDINGS, crate::host::linalg::matmul::twin)
        .with_overrides(&["TRANSPOSE_A", "TRANSPOSE_B", "ACCUMULATE", "UPPER"])
        .with_imports(&[("epilogue", "linalg/epilogue_none.wgsl")])
        .trusted(in_range::PRODUCTS);

/// The kernel for tensor cores, [`Capabilities::tensor_cores`](crate::device::Capabilities::tensor_cores). Operands of f16 go to them as they are,
/// 16 bytes at a time where rows are multiples of 8 long. Others are rounded to f16, so that an element of the result is off by up to
/// 2^-10 Σ |a b| besides the rounding of its f32 sum, and what exceeds 65,504 in an operand is infinite.
pub static COOPERATIVE: KernelSpec = KernelSpec::new(
    "matmul cooperative",
    source!("linalg/matmul_cooperative.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "operand1"),
        Binding::read(2, "operand2"),
        Binding::read_write(3, "inout3"),
    ],
    crate::host::linalg::matmul::twin,
)
.with_overrides(&["TRANSPOSE_A", "TRANSPOSE_B", "ACCUMULATE", "UPPER"])
.with_imports(&[("epilogue", "linalg/epilogue_none.wgsl")])
.trusted(in_range::PRODUCTS);

/// The kernel of a shader, without an epilogue.
pub const fn kernel(multiplier: Multiplier) -> &'static KernelSpec {
    match multiplier {
        Multiplier::Subgroup => &SUBGROUP,
        Multiplier::Direct => &DIRECT,
        Multiplier::Tiled => &TILED,
        Multiplier::Cooperative => &COOPERATIVE,
    }
}

/// Products that a dispatch sums, a multiple of 32: lavapipe silently leaves an invocation's loops after 65,535 rounds in all.
const DISPATCH_K: usize = 1 << 14;

/// An operand: `rows` rows of a tensor from `first` on, perhaps transposed.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    tensor: &'a Tensor,
    first: usize,
    rows: usize,
    transpose: bool,
}

impl<'a> Operand<'a> {
    /// All of a tensor.
    pub fn new(tensor: &'a Tensor) -> Self {
        Operand { tensor, first: 0, rows: tensor.rows(), transpose: false }
    }

    /// Only `rows` rows, from `first` on.
    #[must_use]
    pub fn rows(self, first: usize, rows: usize) -> Self {
        Operand { first, rows, ..self }
    }

    /// Transposed.
    #[must_use]
    pub fn transposed(self) -> Self {
        Operand { transpose: !self.transpose, ..self }
    }

    pub(super) fn tensor(&self) -> &'a Tensor {
        self.tensor
    }

    /// Shape of op(M).
    fn shape(&self) -> (usize, usize) {
        if self.transpose { (self.tensor.width(), self.rows) } else { (self.rows, self.tensor.width()) }
    }
}

/// What is computed of a product.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Factor of the product.
    pub alpha: f32,
    /// Whether the product is added to C, which must be f32 then: sums in f16 lose what they are made of.
    pub accumulate: bool,
    /// Only tiles that reach the diagonal or lie above it, of a square C: what lies below is left alone or written, as the
    /// tiles come.
    pub upper: bool,
}

impl Default for Product {
    fn default() -> Self {
        Product { alpha: 1.0, accumulate: false, upper: false }
    }
}

/// Records `c = alpha op(a) op(b)` (or `+=`), to the rows of `c` from `c_first` on: op(a) is `[m, k]`, op(b) `[k, n]`, `c` at
/// least `[c_first + m, n]`. `a` is f32 or f16, `b` f32, f16, bf16 or Q8_0, `c` f32 or f16, and f32 where it is added to. Tensors' padding must be
/// zero, as it is unless a kernel of one's own writes there.
///
/// # Errors
/// Shapes that do not fit, other element types, a factor that is not finite, `c` among the operands, another device's tensors; no memory for
/// the sums of a `c` of f16 that takes several dispatches.
pub fn record(
    recorder: &mut Recorder,
    product: Product,
    (a, b): (Operand<'_>, Operand<'_>),
    (c, c_first): (&Tensor, usize),
) -> Result<()> {
    record_fused(recorder, product, Epilogue::None, (a, b), (c, c_first))
}

/// [`record`] with an epilogue, whose tensors have m rows.
///
/// # Errors
/// As [`record`]; an epilogue's tensor that does not fit or has the memory of `c`.
pub fn record_fused(
    recorder: &mut Recorder,
    product: Product,
    epilogue: Epilogue<'_>,
    (a, b): (Operand<'_>, Operand<'_>),
    (c, c_first): (&Tensor, usize),
) -> Result<()> {
    let caps = recorder.device().capabilities();
    let halves = [a, b].iter().all(|operand| operand.tensor.element_type() == ElementType::F16);
    let (m, n) = (a.shape().0, b.shape().1);
    // Products of halves are exact on tensor cores.
    let tile = Tile::cooperative(caps, m, n).filter(|_| halves).unwrap_or_else(|| {
        let tiling = caps.tiling.unwrap_or_else(|| Tiling::fixed(caps));
        tiling.get(Class::of((a.transpose, b.transpose), m, n))
    });
    record_parts(recorder, (product, epilogue), (a, b), (c, c_first), tile)
}

/// [`record`] with a tile of one's own; the host engine has none.
///
/// # Errors
/// As [`record`]; when it is submitted, a tile that the device cannot run.
pub fn record_tiled(
    recorder: &mut Recorder,
    product: Product,
    (a, b): (Operand<'_>, Operand<'_>),
    (c, c_first): (&Tensor, usize),
    tile: Tile,
) -> Result<()> {
    record_parts(recorder, (product, Epilogue::None), (a, b), (c, c_first), tile)
}

/// [`record_fused`] with a tile of one's own.
///
/// # Errors
/// As [`record_fused`] and [`record_tiled`].
pub fn record_parts(
    recorder: &mut Recorder,
    (product, epilogue): (Product, Epilogue<'_>),
    (a, b): (Operand<'_>, Operand<'_>),
    (c, c_first): (&Tensor, usize),
    tile: Tile,
) -> Result<()> {
    let (m, n, k) = check(recorder, product, (a, b), (c, c_first))?;
    let epilogue = epilogue.simplified();
    epilogue.check(recorder, (a, b), (c, m))?;
    if m == 0 || n == 0 || (k == 0 && product.accumulate && matches!(epilogue, Epilogue::None)) {
        return Ok(());
    }
    let mut params = params((m, n, k), product, (a, b), (c, c_first));
    // The host's whole product is one call.
    if recorder.device().capabilities().kind == DeviceKind::Host {
        return dispatch(recorder, (Tile::Direct, epilogue), (params, [1; 3]), (a.tensor, b.tensor, c));
    }
    let (rows, columns) = tile.sides();
    let (tiles, across) = (m.div_ceil(rows), n.div_ceil(columns));
    let plain = matches!(epilogue, Epilogue::None) && !product.upper && c_first == 0 && c.rows() == m;
    let layers = if plain && tile.has_layers() { layers(tiles * across, k) } else { 1 };
    let in_one = layers > 1 && 2 * (m * n * k) as u64 <= recorder.device().capabilities().dispatch_flops;
    if c.element_type() == ElementType::F16 && (in_one || k > DISPATCH_K) {
        // Rounded once all is summed.
        let sums = Tensor::new(recorder.device(), m, n, ElementType::F32)?;
        record_parts(recorder, (product, epilogue), (a, b), (&sums, 0), tile)?;
        return elementwise::cast_rows(recorder, &sums, (c, c_first));
    }
    if in_one {
        params.layer = (k.div_ceil(layers) as u32).next_multiple_of(32);
        return in_layers(recorder, tile, (params, [across as u32, tiles as u32]), (a.tensor, b.tensor, c));
    }
    in_parts(recorder, (tile, epilogue), (params, product.accumulate), (a.tensor, b.tensor, c))
}

/// The product in as many dispatches as keep each of them short: parts of k, of rows of tiles, of a row of tiles.
fn in_parts(
    recorder: &mut Recorder,
    (tile, epilogue): (Tile, Epilogue<'_>),
    (mut params, accumulate): (Params, bool),
    (a, b, c): (&Tensor, &Tensor, &Tensor),
) -> Result<()> {
    let (dispatch_flops, (rows, columns)) = (recorder.device().capabilities().dispatch_flops, tile.sides());
    let (tiles, across, k) =
        ((params.m as usize).div_ceil(rows), (params.n as usize).div_ceil(columns), params.k as usize);
    for k_first in (0..k.max(1)).step_by(DISPATCH_K) {
        (params.k_first, params.k) = (k_first as u32, k.min(k_first + DISPATCH_K) as u32);
        params.layer = DISPATCH_K as u32;
        params.accumulate = (accumulate || k_first > 0).into();
        let last = k <= k_first + DISPATCH_K;
        let epilogue = if last { epilogue } else { Epilogue::None };
        let tile_flops = (2 * rows * columns) as u64 * u64::from((params.k - params.k_first).max(1));
        // Whole rows of tiles if one fits, else a part of one.
        let fit = (dispatch_flops / tile_flops).clamp(1, 1 << 31) as usize;
        let wide = fit.min(across).min(65_535);
        let strips = (fit / wide).clamp(1, 65_535);
        for first in (0..tiles).step_by(strips) {
            for column in (0..across).step_by(wide) {
                (params.first_tile, params.first_column) = (first as u32, column as u32);
                let groups = [wide.min(across - column) as u32, strips.min(tiles - first) as u32, 1];
                dispatch(recorder, (tile, epilogue), (params, groups), (a, b, c))?;
            }
        }
    }
    Ok(())
}

/// The whole product's parameters, with the flags that the host's twin reads.
fn params(
    (m, n, k): (usize, usize, usize),
    product: Product,
    (a, b): (Operand<'_>, Operand<'_>),
    (c, c_first): (&Tensor, usize),
) -> Params {
    Params {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        alpha: product.alpha,
        a_stride: a.tensor.width4() as u32,
        b_stride: b.tensor.width4() as u32,
        c_stride: c.width4() as u32,
        first_tile: 0,
        a_first: a.first as u32,
        b_first: b.first as u32,
        c_first: c_first as u32,
        k_first: 0,
        transpose_a: a.transpose.into(),
        transpose_b: b.transpose.into(),
        accumulate: product.accumulate.into(),
        upper: product.upper.into(),
        first_column: 0,
        epilogue: 0,
        layer: 0,
        padding: 0,
    }
}

/// Workgroups that are enough for a large GPU, and products that are worth one.
const ENOUGH: usize = 512;
const LEAST_LAYER: usize = 256;

/// In how many parts k is summed side by side: few tiles with long sums would leave a large GPU idle.
fn layers(tiles: usize, k: usize) -> usize {
    (ENOUGH / tiles.max(1)).min(k / LEAST_LAYER).max(k.div_ceil(DISPATCH_K)).max(1)
}

/// The product in layers, each a part of k with results of its own, and their sum in order of the layers.
fn in_layers(
    recorder: &mut Recorder,
    tile: Tile,
    (mut params, [across, tiles]): (Params, [u32; 2]),
    (a, b, c): (&Tensor, &Tensor, &Tensor),
) -> Result<()> {
    let accumulate = std::mem::take(&mut params.accumulate) != 0;
    let layers = params.k.div_ceil(params.layer);
    let width = 4 * (params.m * params.c_stride) as usize;
    let parts = Tensor::new(recorder.device(), layers as usize, width, ElementType::F32)?;
    dispatch(recorder, (tile, Epilogue::None), (params, [across, tiles, layers]), (a, b, &parts))?;
    let shape = (parts.rows(), parts.width4());
    bias::record_columns(recorder, &bias::SPEC, shape, &[parts.buffer(), c.buffer()], accumulate)
}

fn dispatch(
    recorder: &mut Recorder,
    (tile, epilogue): (Tile, Epilogue<'_>),
    (mut params, groups): (Params, [u32; 3]),
    (a, b, c): (&Tensor, &Tensor, &Tensor),
) -> Result<()> {
    let (multiplier, shape) = tile.multiplier();
    // A binding must hold a vector, even where nobody reads it: an operand without rows.
    let held = |operand: &Tensor| match operand.rows() {
        0 => recorder.device().idle(),
        _ => Ok(operand.buffer().clone()),
    };
    let (left, right) = (held(a)?, held(b)?);
    // What stands for an epilogue's operand that is not there holds a vector of f32.
    let filler = if left.bytes() < 16 { recorder.device().idle()? } else { left.clone() };
    let fused = epilogue.of(multiplier, &filler);
    params.epilogue = fused.flags;
    let own = [
        ("TRANSPOSE_A", f64::from(params.transpose_a)),
        ("TRANSPOSE_B", f64::from(params.transpose_b)),
        ("ACCUMULATE", f64::from(params.accumulate)),
        ("UPPER", f64::from(params.upper)),
    ];
    let constants = [&own[..], &fused.constants].concat();
    let elements = (b.element_type(), c.element_type());
    let device = recorder.device();
    let operands = [a, b].map(|operand| (operand.element_type(), operand.width4()));
    let imports = [shape, &files(device.capabilities(), operands, [c.element_type(), fused.kept])].concat();
    let choice = Choice { family: "products", elements, imports: &imports, constants: &constants };
    let variant = device.variant_for(choice, || Ok((imports.clone(), constants.clone())))?;
    let halves = halves_of([a]) | halves_of([c]) << 2 | u32::from(fused.kept == ElementType::F16) << 4;
    let dispatch = Dispatch::new(fused.kernel).variant(variant).params(&params).elements(elements.0, elements.1);
    let buffers = [&left, &right, c.buffer()].into_iter().chain(fused.buffers.iter().flatten());
    let dispatch = dispatch.buffers(buffers).groups(groups).halves(halves);
    // Without products there is no last row to which reads could be clamped.
    if params.k > 0 { recorder.dispatch_trusted(dispatch) } else { recorder.dispatch(dispatch) }
}

/// The files by which a product's shader reads its operands, of an element type and so many vectors of four to a row, writes its result, and
/// keeps what comes before GELU.
pub fn files(caps: &Capabilities, [a, b]: [(ElementType, usize); 2], [c, kept]: [ElementType; 2]) -> [Import; 8] {
    let inout = if c == ElementType::F16 { "common/inout_f16.wgsl" } else { "common/inout_f32.wgsl" };
    let result = if kept == ElementType::F16 { "common/result_f16.wgsl" } else { "common/result_f32.wgsl" };
    [
        ("matrix1", matrix(a.0, caps.texel_reads)),
        ("matrix2", matrix(b.0, caps.texel_reads)),
        ("eight1", eight(a)),
        ("eight2", eight(b)),
        // What `eight` rounds: tensor cores' operands are buffers.
        ("number1", matrix(a.0, false)),
        ("number2", matrix(b.0, false)),
        ("inout3", inout),
        ("result5", result),
    ]
}

/// The file by which an operand is read, four elements at a time.
fn matrix(element: ElementType, texel_reads: bool) -> &'static str {
    match (element, texel_reads) {
        (ElementType::F16, false) => "common/operand_half_buffer.wgsl",
        (ElementType::F16, true) => "common/operand_half_texture.wgsl",
        (ElementType::Q8_0, false) => "common/operand_q8_buffer.wgsl",
        (ElementType::Q8_0, true) => "common/operand_q8_texture.wgsl",
        (ElementType::BF16, false) => "common/operand_bf16_buffer.wgsl",
        (ElementType::BF16, true) => "common/operand_bf16_texture.wgsl",
        (_, false) => "common/operand_buffer.wgsl",
        (_, true) => "common/operand_texture.wgsl",
    }
}

/// The file by which tensor cores' operands are read, eight elements at a time.
fn eight((element, width4): (ElementType, usize)) -> &'static str {
    match element {
        ElementType::F16 if width4 % 2 == 0 => "linalg/eight_half_even.wgsl",
        ElementType::F16 => "linalg/eight_half.wgsl",
        _ => "linalg/eight_rounded.wgsl",
    }
}

/// m, n and k.
fn check(
    recorder: &Recorder,
    product: Product,
    (a, b): (Operand<'_>, Operand<'_>),
    (c, c_first): (&Tensor, usize),
) -> Result<(usize, usize, usize)> {
    let name = "matmul";
    check_device(name, recorder.device(), &[a.tensor, b.tensor, c])?;
    for (operand, tensor) in [("a", a.tensor), ("b", b.tensor), ("c", c)] {
        let fits = match tensor.element_type() {
            ElementType::F32 | ElementType::F16 => true,
            ElementType::BF16 | ElementType::Q8_0 => operand == "b",
            _ => false,
        };
        if !fits {
            return Err(Error::shape(name, operand, "f32 or f16 (b: or bf16 or q8_0)", tensor.element_type()));
        }
    }
    if product.accumulate && c.element_type() != ElementType::F32 {
        return Err(Error::shape(name, "c that is added to", "f32", c.element_type()));
    }
    for (operand, o) in [("a", &a), ("b", &b)] {
        if o.first.checked_add(o.rows).is_none_or(|end| end > o.tensor.rows()) {
            let got = format!("{} from {}", o.rows, o.first);
            return Err(Error::shape(name, operand, format!("at most {} rows", o.tensor.rows()), got));
        }
        if o.tensor.buffer().same(c.buffer()) {
            return Err(Error::shape(name, "c", "memory of its own", format!("that of {operand}")));
        }
    }
    let ((m, k), (k_b, n)) = (a.shape(), b.shape());
    if k != k_b {
        return Err(Error::shape(name, "op(b)", format!("{k} rows, as op(a) has columns"), k_b));
    }
    if c.width() != n || c_first.checked_add(m).is_none_or(|end| end > c.rows()) {
        let want = format!("[{m}, {n}] from row {c_first} on");
        return Err(Error::shape(name, "c", want, format!("[{}, {}]", c.rows(), c.width())));
    }
    if product.upper && m != n {
        return Err(Error::shape(name, "upper result", "a square", format!("[{m}, {n}]")));
    }
    if !product.alpha.is_finite() {
        return Err(Error::argument("alpha", format!("{}; give a finite factor", product.alpha)));
    }
    Ok((m, n, k))
}
