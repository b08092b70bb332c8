//! Twin of `shaders/stats/moments.wgsl`; formats and proofs in [`crate::kernels::stats::moments`].

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use crate::host::align::apply::MAX_VECTORS;
use crate::host::fixed_point::{even_shift, inverse_norm, inverse_root, mul_shift, weight};
use crate::host::rows::{Fixed, NOT_FINITE, RowElement, fixed_scale, peak, usable};
use crate::host::{HostCall, check_params, dispatch_simd, volume};
use crate::{ElementType, Error, Result};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width4: u32,
    pub vectors: u32,
    pub row_base: u32,
}

/// Runs the kernel: buffers are rows, vectors, constants, sums.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let (pass, sums) = Pass::of(call)?;
    let elements = pass.elements();
    match call.elements.0 {
        ElementType::F32 => run::<f32>(&pass, call.read_as(0, elements)?, sums),
        ElementType::F16 => run::<half::f16>(&pass, call.read_as(0, elements)?, sums),
        ElementType::BF16 => run::<half::bf16>(&pass, call.read_as(0, elements)?, sums),
        ElementType::Fixed => run::<Fixed>(&pass, call.read_as(0, elements)?, sums),
        element @ (ElementType::F64 | ElementType::Q8_0) => {
            return Err(Error::argument("element type", format!("{element} is no type of a device's rows")));
        }
    }
    Ok(())
}

/// What a pass is given, beside its rows.
pub(super) struct Pass<'a> {
    pub(super) params: Params,
    pub(super) vectors: &'a [i32],
    pub(super) constants: &'a [i64],
}

impl<'a> Pass<'a> {
    /// The pass and its sums, of a call whose buffers 1 to 3 are vectors, constants and sums.
    pub(super) fn of(call: &mut HostCall<'a>) -> Result<(Self, &'a mut [u64])> {
        let params: Params = call.params()?;
        let (stride, m) = (4 * params.width4 as usize, params.vectors as usize);
        check_params(stride > 0 && m <= MAX_VECTORS, "rows without columns, or too many vectors")?;
        let vectors = call.read_as(1, volume([m, stride]))?;
        let constants = call.read_as(2, 4 + m * m + m)?;
        let sums = call.write_as(3, stride + 4 + 2 * m)?;
        Ok((Pass { params, vectors, constants }, sums))
    }

    /// Elements of the rows.
    pub(super) fn elements(&self) -> usize {
        volume([self.params.rows as usize, 4 * self.params.width4 as usize])
    }
}

/// Rows that one task adds up before it merges: enough to hide the merge, few enough for every core to have work.
const TASK_ROWS: usize = 256;

fn run<E: RowElement>(pass: &Pass<'_>, rows: &[E], sums: &mut [u64]) {
    let stride = 4 * pass.params.width4 as usize;
    let rows = &rows[..pass.params.rows as usize * stride];
    let tasks = (pass.params.rows as usize).div_ceil(TASK_ROWS).clamp(1, rayon::current_num_threads());
    let task_rows = (pass.params.rows as usize).div_ceil(tasks).max(1);
    let parts: Vec<Vec<u64>> = (rows.par_chunks(task_rows * stride).enumerate())
        .map(|(i, block)| {
            let mut part = vec![0; sums.len()];
            dispatch_simd(AddBlock { pass, block, first: (i * task_rows) as u32, sums: &mut part });
            part
        })
        .collect();
    let bad = stride + 2;
    for part in parts {
        let first_bad = sums[bad].max(part[bad]);
        sums.iter_mut().zip(&part).for_each(|(s, p)| *s = s.wrapping_add(*p));
        sums[bad] = first_bad;
    }
}

/// Adds a block of rows, the first of index `first`, to `sums`.
struct AddBlock<'a, E> {
    pass: &'a Pass<'a>,
    block: &'a [E],
    first: u32,
    sums: &'a mut [u64],
}

impl<E: RowElement> pulp::NullaryFnOnce for AddBlock<'_, E> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        add_block(self.pass, self.block, self.first, self.sums);
    }
}

#[inline(always)]
fn add_block<E: RowElement>(pass: &Pass<'_>, block: &[E], first: u32, sums: &mut [u64]) {
    let stride = 4 * pass.params.width4 as usize;
    let (columns, tail) = sums.split_at_mut(stride);
    let mut fixed = vec![0i32; stride];
    let mut bias = 0u64;
    for (row, index) in block.chunks_exact(stride).zip(first..) {
        let Some((w, shift)) = row_weight(pass, row, index, &mut fixed, tail) else { continue };
        if w != 0 {
            add_columns(columns, &fixed, w, shift);
            bias = bias.wrapping_add(BIAS >> shift);
        }
    }
    columns.iter_mut().for_each(|c| *c = c.wrapping_sub(bias));
}

/// The row's weight and shift, its counters added to `tail`; `None` if it is not finite. `fixed` becomes its integers,
/// zeros for a row that counts as zero.
#[inline(always)]
pub(super) fn row_weight<E: RowElement>(
    pass: &Pass<'_>,
    row: &[E],
    index: u32,
    fixed: &mut [i32],
    tail: &mut [u64],
) -> Option<(u32, u32)> {
    let peak = peak(row);
    if peak >= NOT_FINITE {
        tail[2] = tail[2].max(u64::from(u32::MAX - pass.params.row_base.wrapping_add(index)));
        return None;
    }
    // u_j = x_j w 2^-(40 + shift), w of 31 bits.
    let (mut w, mut shift) = (0, 21);
    if usable(peak) {
        let scale = fixed_scale(peak);
        fixed.iter_mut().zip(row).for_each(|(f, x)| *f = x.fixed(scale));
        let square = sum_squares(fixed);
        if !norm_is_tiny(square, peak) {
            let up = even_shift(square);
            let (root, rest) = inverse_root(square << up);
            (w, shift) = (root, 29 - up / 2);
            tail[0] = tail[0].wrapping_add(1);
            tail[1] = tail[1].wrapping_add((rest >> 62) as u64);
        }
    }
    if w == 0 {
        fixed.fill(0);
    }
    if pass.params.vectors > 0 {
        (w, shift) = operator_weight(pass, fixed, (w, shift), &mut tail[4..]);
    }
    Some((w, shift))
}

/// Added to products before the shift, since AVX2 shifts 64-bit lanes only as unsigned numbers.
pub(super) const BIAS: u64 = 1 << 62;

#[inline(always)]
pub(super) fn add_columns(columns: &mut [u64], fixed: &[i32], w: u32, shift: u32) {
    let offset = BIAS + ((1u64 << shift) >> 1);
    for (c, &x) in columns.iter_mut().zip(fixed) {
        let product = (i64::from(x) * i64::from(w as i32)) as u64;
        *c = c.wrapping_add(product.wrapping_add(offset) >> shift);
    }
}

#[inline(always)]
fn sum_squares(fixed: &[i32]) -> u64 {
    fixed.iter().map(|&x| (i64::from(x) * i64::from(x)) as u64 >> 16).sum()
}

/// `Σ x_j v_j / 2¹⁶`, each product cut towards zero.
#[inline(always)]
fn dot_vector(fixed: &[i32], vector: &[i32]) -> i64 {
    let mut total = 0i64;
    for (&x, &v) in fixed.iter().zip(vector) {
        let magnitude = ((u64::from(x.unsigned_abs()) * u64::from(v.unsigned_abs())) >> 16) as i64;
        let sign = i64::from((x ^ v) >> 31);
        total += (magnitude ^ sign) - sign;
    }
    total
}

/// `|row| < 1e-10`, decided over the integers.
#[inline(always)]
fn norm_is_tiny(square: u64, peak: u32) -> bool {
    let e = (peak >> 23) as i32 - 127;
    // 1e-20 in units of `square` at e = -34, times 4 for each step down.
    e < -41 || (e < -33 && square < 0x2f39_4219_2484 << (2 * (-34 - e)))
}

/// The weight and shift of the row in the operator's output; adds the vectors' coefficients to `counters`.
#[inline(always)]
fn operator_weight(pass: &Pass<'_>, fixed: &[i32], (w, places): (u32, u32), counters: &mut [u64]) -> (u32, u32) {
    let m = pass.params.vectors as usize;
    let (head, rest) = pass.constants.split_at(4);
    let (gram, exponents) = rest.split_at(m * m);
    let mut t = [0i64; MAX_VECTORS];
    for (k, vector) in pass.vectors.chunks_exact(fixed.len()).take(m).enumerate() {
        t[k] = mul_shift(
            dot_vector(fixed, vector),
            i64::from(w),
            (exponents[k] as u32).wrapping_add(places).wrapping_sub(32),
        );
    }
    let (a, square) = if w == 0 { (0, head[3]) } else { (head[0], head[2]) };
    let mut c = [0i64; MAX_VECTORS];
    c[0] = inverse_norm(square.wrapping_add(mul_shift(head[1], t[0], 56)));
    let mut row = mul_shift(a, c[0], 56);
    for k in 1..m {
        let dot = (0..k).fold(mul_shift(row, t[k], 40), |d, i| d.wrapping_add(mul_shift(c[i], gram[i * m + k], 40)));
        let inverse = inverse_norm((1i64 << 56).wrapping_add(dot << 1).wrapping_add(gram[k * m + k]));
        row = mul_shift(row, inverse, 40);
        c[..k].iter_mut().for_each(|c| *c = mul_shift(*c, inverse, 40));
        c[k] = inverse;
    }
    for (counter, c) in counters.chunks_exact_mut(2).zip(&c[..m]) {
        counter[0] = counter[0].wrapping_add((c & 0xf_ffff) as u64);
        counter[1] = counter[1].wrapping_add((c >> 20) as u64);
    }
    weight(i128::from(row) * i128::from(w), places)
}
