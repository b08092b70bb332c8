//! Twins of `shaders/geometry/jacobi.wgsl` and `jacobi_norms.wgsl`; the method is in [`crate::kernels::geometry::jacobi`].

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use crate::Result;
use crate::host::wide_float::{Wide, Words};
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub first: u32,
    pub last: u32,
    pub all_rows: u32,
    pub columns: u32,
    pub round: u32,
    pub sweep: u32,
    pub padding: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct NormParams {
    pub rows: u32,
    pub last: u32,
    pub all_rows: u32,
    pub columns: u32,
}

/// Lanes of the shader's workgroup, by which sums are ordered.
const LANES: usize = 64;

/// Columns 2k and 2k + 1 of a round of a tournament; the last of an odd number meets nobody.
pub(crate) fn pairs(columns: usize, round: usize) -> impl Iterator<Item = (usize, usize)> {
    let others = columns.next_multiple_of(2).max(2) - 1;
    let pair = move |k: usize| (if k == 0 { others } else { (round + k) % others }, (round + others - k) % others);
    (0..=others / 2).map(pair).filter(move |&(x, y)| x.max(y) < columns)
}

/// Sums of x x, y y and x y, in the shader's order.
fn sums(x: &[Words], y: &[Words]) -> [Wide; 3] {
    let lane = |lane: usize| {
        let rows = x.iter().zip(y).skip(lane).step_by(LANES);
        rows.fold([Wide::ZERO; 3], |[xx, yy, xy], (a, b)| {
            let (a, b) = (Wide::from(*a), Wide::from(*b));
            [xx.plus(a.times(a)), yy.plus(b.times(b)), xy.plus(a.times(b))]
        })
    };
    let mut partial: Vec<[Wide; 3]> = (0..LANES).map(lane).collect();
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            partial[i] = std::array::from_fn(|k| partial[i][k].plus(partial[i + half][k]));
        }
        half /= 2;
    }
    partial[0]
}

/// Cosine and sine of the rotation that makes x and y orthogonal, where they are not.
fn turn([xx, yy, xy]: [Wide; 3]) -> Option<(Wide, Wide)> {
    if !xx.times(yy).lesser(xy.times(xy).moved(90)) {
        return None;
    }
    let zeta = yy.plus(xx.negated()).times(xy.moved(1).inverse());
    let square = Wide::ONE.plus(zeta.times(zeta));
    let t = zeta.magnitude().plus(square.times(square.inverse_sqrt())).inverse();
    let c = Wide::ONE.plus(t.times(t)).inverse_sqrt();
    Some((c, c.times(t).signed_as(zeta)))
}

/// Rotates a pair of columns; some rows decide. Whether it was rotated.
fn rotate(x: &mut [Words], y: &mut [Words], deciding: Range<usize>) -> bool {
    let Some((c, s)) = turn(sums(&x[deciding.clone()], &y[deciding])) else { return false };
    for (a, b) in x.iter_mut().zip(y) {
        let (u, v) = (Wide::from(*a), Wide::from(*b));
        *a = c.times(u).plus(s.times(v).negated()).into();
        *b = s.times(u).plus(c.times(v)).into();
    }
    true
}

/// Runs a round: buffers are columns, rotated.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let [first, last, all, columns, sweep] = [p.first, p.last, p.all_rows, p.columns, p.sweep].map(|x| x as usize);
    check_params(first <= last && last <= all && all > 0, "deciding rows beyond all")?;
    let held: &mut [Words] = call.write_as(0, volume([columns, all]))?;
    let rotated: &mut [u32] = call.write_as(1, sweep + 1)?;
    if sweep > 0 && rotated[sweep - 1] == 0 {
        return Ok(());
    }
    let mut parts: Vec<Option<&mut [Words]>> = held.chunks_exact_mut(all).take(columns).map(Some).collect();
    let taken: Vec<_> =
        pairs(columns, p.round as usize).filter_map(|(x, y)| Some((parts[x].take()?, parts[y].take()?))).collect();
    let count: u32 = taken.into_par_iter().map(|(x, y)| u32::from(rotate(x, y, first..last))).sum();
    rotated[sweep] += count;
    Ok(())
}

/// Runs the norms: buffers are columns, norms.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn norms_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: NormParams = call.params()?;
    let [rows, last, all, columns] = [p.rows, p.last, p.all_rows, p.columns].map(|x| x as usize);
    check_params(rows <= last && last <= all && all > 0, "more rows of R and C than of all")?;
    let held: &[Words] = call.read_as(0, volume([columns, all]))?;
    let norms: &mut [Words] = call.write_as(1, volume([columns, 2]))?;
    let square =
        |part: &[Words]| part.iter().fold(Wide::ZERO, |sum, x| sum.plus(Wide::from(*x).times(Wide::from(*x)))).into();
    for (column, norm) in held.chunks_exact(all).take(columns).zip(norms.chunks_exact_mut(2)) {
        (norm[0], norm[1]) = (square(&column[..rows]), square(&column[rows..last]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_meets_once_in_a_sweep() {
        for columns in 1..12usize {
            let rounds = columns.next_multiple_of(2).max(2) - 1;
            let mut met = std::collections::BTreeSet::new();
            for round in 0..rounds {
                let mut busy = std::collections::BTreeSet::new();
                for (x, y) in pairs(columns, round) {
                    assert!(busy.insert(x) && busy.insert(y) && x != y);
                    assert!(met.insert((x.min(y), x.max(y))), "{columns}: {x}, {y}");
                }
            }
            assert_eq!(met.len(), columns * (columns - 1) / 2);
        }
    }
}
