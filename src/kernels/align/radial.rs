//! Lengths in planes, mapped piecewise linearly: what AnisoAlign does to coordinates in its frame (arXiv 2605.07825, 4.4.1).
//!
//! The coordinates 2 k and 2 k + 1 of a row, moved by the offset, are a point of plane k. Its distance from the origin, `√(a² + b² + 1e-12)`, is
//! mapped from the source's quantiles to the target's by binary search; beyond the outermost ones it becomes theirs. Its direction stays. A row
//! with a NaN keeps one.
//!
//! Bytes: one read and one write of the coordinates. FLOPs: about 10 per coordinate, and a search of log2(knots) steps, all of whose reads are in
//! tables of 8 bytes per plane and knot.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_rows, check_words, check_written};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::host::align::radial::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "radial",
    source!("align/radial.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "offset"),
        Binding::read(2, "lengths"),
        Binding::read(3, "wanted"),
        Binding::read_write(4, "coordinates"),
    ],
    crate::host::align::radial::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::KNOTS);

/// The planes' tables on a device.
#[derive(Clone, Debug)]
pub struct Planes {
    offset: Buffer,
    lengths: Buffer,
    wanted: Buffer,
    count: usize,
    knots: usize,
}

impl Planes {
    /// Uploads, rounded to f32, the offset `[2 m]` of m planes, and their lengths of source and target at the same levels, `[m, k]`, each row
    /// ascending.
    ///
    /// # Errors
    /// No plane or no knot; lengths that do not fit each other; no memory.
    pub fn new(device: &Device, offset: &[f64], (source, target): (&[f64], &[f64])) -> Result<Self> {
        let count = offset.len() / 2;
        let fits = offset.len() == 2 * count && count > 0 && source.len().is_multiple_of(count);
        if !fits || source.is_empty() || source.len() != target.len() || u32::try_from(source.len()).is_err() {
            let got = format!("{} and {} lengths of {} coordinates", source.len(), target.len(), offset.len());
            return Err(Error::shape(SPEC.name, "planes", "an offset [2 m], lengths [m, k] of both sides", got));
        }
        let single = |values: &[f64], length: usize| {
            let mut single: Vec<f32> = values.iter().map(|&x| x as f32).collect();
            single.resize(length, 0.0);
            device.buffer_from("planes", bytemuck::cast_slice(&single))
        };
        Ok(Planes {
            offset: single(offset, offset.len().next_multiple_of(4))?,
            lengths: single(source, source.len())?,
            wanted: single(target, target.len())?,
            count,
            knots: source.len() / count,
        })
    }
}

/// Records the maps on the first `rows` rows of `coordinates`, `[n, 2 m]` f32, in place.
///
/// # Errors
/// Another width or element type, more rows than there are, another device's memory.
pub fn record(recorder: &mut Recorder, planes: &Planes, coordinates: &Tensor, rows: usize) -> Result<()> {
    let name = SPEC.name;
    check_matrix(recorder, name, ("coordinates", coordinates), (coordinates.rows(), 2 * planes.count))?;
    check_rows(name, coordinates, rows)?;
    check_words(recorder, name, ("planes", &planes.lengths), planes.count * planes.knots)?;
    check_index(name, coordinates)?;
    let buffers = [&planes.offset, &planes.lengths, &planes.wanted, coordinates.buffer()];
    check_written(name, &buffers, 1)?;
    let count = rows * coordinates.width4();
    if count == 0 {
        return Ok(());
    }
    let params = Params {
        count: count as u32,
        width4: coordinates.width4() as u32,
        planes: planes.count as u32,
        knots: planes.knots as u32,
        half: if planes.knots > 1 { 1 << (planes.knots - 1).ilog2() } else { 0 },
        padding: [0; 3],
    };
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count)
}
