//! Twins of `shaders/geometry/angle_cross.wgsl` and `angle_columns.wgsl`; the formats are in [`crate::kernels::geometry::angles`].

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::host::linalg::exact_product::{PLANES, digits_of};
use crate::host::wide_float::{Wide, Words};
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct CrossParams {
    pub words: u32,
    pub width4: u32,
    pub padding: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct ColumnParams {
    pub rows: u32,
    pub cross_rows: u32,
    pub columns: u32,
    pub stride: u32,
    pub identity: u32,
    pub padding: [u32; 3],
}

/// Binary digits after the point of a direction's integers.
pub(crate) const FRACTION_BITS: u32 = 60;

fn wide([low, high]: [u64; 2]) -> i128 {
    i128::from(high as i64) << 64 | i128::from(low)
}

/// An integer of 61 bits in two: `upper 2³² + lower`, lower from -2³¹ up.
pub(crate) fn halves(q: i64) -> [i64; 2] {
    let lower = i64::from(q as i32);
    [q.wrapping_sub(lower) >> 32, lower]
}

/// Runs the kernel: buffers are sums, upper digits, lower digits.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn cross_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: CrossParams = call.params()?;
    let (words, width) = (p.words as usize, 4 * p.width4 as usize);
    let sums: &[[u64; 2]] = call.read_as(0, volume([4, words, width]))?;
    let upper: &mut [u32] = call.write_as(1, volume([PLANES, words, width]))?;
    let lower: &mut [u32] = call.write_as(2, volume([PLANES, words, width]))?;
    for at in 0..words * width {
        let (word, column) = (at / width, at % width);
        for digits in [&mut *upper, &mut *lower] {
            (0..PLANES).for_each(|plane| digits[plane * words * width + at] = 0);
        }
        for k in 0..4 {
            let sum = wide(sums[(4 * word + k) * width + column]);
            let q = (sum.wrapping_add(1 << (FRACTION_BITS - 1)) >> FRACTION_BITS) as i64;
            for (digits, part) in [&mut *upper, &mut *lower].into_iter().zip(halves(q)) {
                for (plane, byte) in digits_of(part).into_iter().enumerate() {
                    digits[plane * words * width + at] |= u32::from(byte) << (8 * k);
                }
            }
        }
    }
    Ok(())
}

/// Runs the kernel: buffers are A C, C, B, columns.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn columns_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: ColumnParams = call.params()?;
    let [rows, cross_rows, columns, stride] = [p.rows, p.cross_rows, p.columns, p.stride].map(|x| x as usize);
    let within = rows + cross_rows;
    let all = within + p.identity as usize;
    check_params(columns <= stride && within > 0, "columns beyond the sums' rows, or no rows")?;
    let inside: &[[u64; 2]] = call.read_as(0, volume([rows, stride]))?;
    let cross: &[[u64; 2]] = call.read_as(1, volume([cross_rows, stride]))?;
    let b: &[u64] = call.read_as(2, volume([columns, rows]))?;
    let out: &mut [Words] = call.write_as(3, volume([columns, all]))?;
    let unit = -2 * FRACTION_BITS as i32;
    for (column, out) in out.chunks_exact_mut(all).take(columns).enumerate() {
        let (sums, beneath) = out.split_at_mut(within);
        let (outside, inner) = sums.split_at_mut(rows);
        for (row, out) in outside.iter_mut().enumerate() {
            let whole = i128::from(b[column * rows + row] as i64) << FRACTION_BITS;
            *out = Wide::of_integer(whole.wrapping_sub(wide(inside[row * stride + column])), unit).into();
        }
        for (row, out) in inner.iter_mut().enumerate() {
            *out = Wide::of_integer(wide(cross[row * stride + column]), unit).into();
        }
        for (row, out) in beneath.iter_mut().enumerate() {
            *out = if row == column { Wide::ONE } else { Wide::ZERO }.into();
        }
    }
    Ok(())
}
