//! Applies an affine-and-project operator to rows [spec 2; paper section 4].
//!
//! With `u` the unit row and vectors `v_0 .. v_{m-1}`: `r_0 = P(a u + v_0)`, `r_k = P(r_{k-1} + v_k)`, `P(z) = z / |z|`.
//! ReAlign is `a = s`, `v_0 = mu_x - s mu_y` (both divided by `s` if `s > 1`), `v_1 = mu_x - mu'`; each further vector is
//! one more centroid step; anchor and mean shift are `a = 1` and one vector; normalisation is no vector at all.
//!
//! Bytes: one read and one write of the rows. FLOPs per element: 2 + 2 m for the dots, 1 + 2 m to combine.

use super::super::{
    Binding, KernelSpec, RowShape, check_device, check_rows, check_same_shape, record_in_parts, row_variant,
};
use crate::device::{Buffer, Device, Dispatch, Recorder, Tensor};
pub use crate::host::align::apply::MAX_VECTORS;
use crate::host::align::apply::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "apply",
    source!("align/apply.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::texels(2, "vectors"),
        Binding::read(3, "gram"),
        Binding::read_write(4, "out_rows"),
        Binding::read_write(5, "status"),
    ],
    crate::host::align::apply::twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE", "VECTORS"])
.trusted(in_range::ROWS);

/// An operator's constants on a device.
#[derive(Clone, Debug)]
pub struct Operator {
    a: f32,
    width: usize,
    count: usize,
    vectors: Buffer,
    gram: Buffer,
}

impl Operator {
    /// Uploads `a` and the vectors, each of one width.
    ///
    /// # Errors
    /// More than [`MAX_VECTORS`] vectors, widths that differ, no memory.
    pub fn new(device: &Device, a: f64, vectors: &[Vec<f64>], width: usize) -> Result<Self> {
        if vectors.len() > MAX_VECTORS {
            return Err(Error::shape("apply", "vectors", format!("at most {MAX_VECTORS}"), vectors.len()));
        }
        if let Some(v) = vectors.iter().find(|v| v.len() != width) {
            return Err(Error::shape("apply", "vector", width, v.len()));
        }
        let stride = width.div_ceil(4) * 4;
        let mut flat = vec![0f32; (stride * vectors.len()).max(4)];
        for (v, row) in vectors.iter().zip(flat.chunks_exact_mut(stride.max(1))) {
            row.iter_mut().zip(v).for_each(|(r, &v)| *r = v as f32);
        }
        let mut gram: Vec<f32> = Vec::with_capacity((vectors.len() * vectors.len()).max(1));
        for v in vectors {
            gram.extend(vectors.iter().map(|w| crate::host::dot(v, w) as f32));
        }
        if gram.is_empty() {
            gram.push(0.0);
        }
        Ok(Operator {
            a: a as f32,
            width,
            count: vectors.len(),
            vectors: device.buffer_from("operator vectors", bytemuck::cast_slice(&flat))?,
            gram: device.buffer_from("operator gram matrix", bytemuck::cast_slice(&gram))?,
        })
    }
}

/// Where row kernels report rows with a NaN or an infinity; read it with [`first_bad_row`].
pub fn status_buffer(device: &Device) -> Result<Buffer> {
    device.buffer("row status", 8)
}

/// The first row with a NaN or an infinity, relative to the window's first row, from the status buffer's bytes.
pub fn first_bad_row(status: &[u8]) -> Option<u64> {
    let word = status.first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
    (word != 0).then(|| u64::from(u32::MAX - word))
}

/// Records the operator on the first `rows` rows of `input`, `[n, d]` of any device element type, into `output`, `[n, d]`
/// of f32, f16 or bf16. Sums are f32. Rows with a NaN or an infinity are reported in `status`, counted from `row_base`.
///
/// # Errors
/// Shapes that differ, more rows than the tensors have, operands of another device.
pub fn record(
    recorder: &mut Recorder,
    operator: &Operator,
    input: &Tensor,
    output: &Tensor,
    rows: usize,
    (status, row_base): (&Buffer, u32),
) -> Result<()> {
    check_rows("apply", input, rows)?;
    check_same_shape("apply", input, output)?;
    check_device("apply", recorder.device(), &[input, output])?;
    if operator.width != input.width() {
        return Err(Error::shape(
            "apply",
            "rows",
            format!("width {}", operator.width),
            format!("width {}", input.width()),
        ));
    }
    if rows == 0 {
        return Ok(());
    }
    let shape = RowShape::of(recorder.device().capabilities(), input.width4());
    let params = Params {
        rows: rows as u32,
        width4: input.width4() as u32,
        vectors: operator.count as u32,
        a: operator.a,
        row_base,
        padding: [0; 3],
    };
    let groups = [shape.groups(rows), 1, 1];
    let elements = (input.element_type(), output.element_type());
    let variant = row_variant(recorder.device(), elements, shape, &[], &[("VECTORS", operator.count as f64)])?;
    let dispatch =
        Dispatch::new(&SPEC).variant(variant).params(&params).elements(elements.0, elements.1).groups(groups);
    let buffers = [input.buffer(), &operator.vectors, &operator.gram, output.buffer(), status];
    record_in_parts(recorder, dispatch.buffers(buffers))
}
