//! The twins of `shaders/nn/attention*.wgsl`: what a dispatch binds, as the slices of [`super::attention`].

use super::attention::{
    ALL_KEYS, Distances, Heads, KeyBlock, Mask, Operands, Params, QueryBlock, Upstream, delta, forward_with,
    keys_backward, queries_backward,
};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, check_params, volume};

/// The heads, if they are some and the shared ones divide them.
fn heads(p: &Params) -> Result<Heads> {
    let (query, shared_by, width) = (p.heads as usize, p.shared_by as usize, p.width as usize);
    let fit = query > 0 && width > 0 && shared_by > 0 && query.is_multiple_of(shared_by);
    check_params(fit, "heads without elements, or shared by no divisor of their number")?;
    check_params(p.window > 0 && p.window <= ALL_KEYS, "a window without keys, or wider than 2^31")?;
    let window = Some(p.window);
    Ok(Heads { query, key_value: query / shared_by, width, scale: p.scale, window })
}

fn mask(p: &Params) -> Mask {
    if p.causal == 0 { Mask::Full } else { Mask::Causal }
}

/// Rows of queries and of keys that blocks name: after the last of each.
#[derive(Clone, Copy)]
struct Extent {
    queries: usize,
    keys: usize,
}

impl Extent {
    fn of_queries(blocks: &[QueryBlock], mask: Mask) -> Result<Self> {
        let mut extent = Extent { queries: 0, keys: 0 };
        for [first, count, key, seen] in blocks.iter().map(|b| b.map(|x| x as usize)) {
            check_params(count > 0 && seen > 0, "a block without queries, or queries that see no key")?;
            extent.queries = extent.queries.max(first + count);
            extent.keys = extent.keys.max(key + seen + mask.step() as usize * (count - 1));
        }
        Ok(extent)
    }

    fn of_keys(blocks: &[KeyBlock]) -> Result<Self> {
        let mut extent = Extent { queries: 0, keys: 0 };
        for [key, count, first, queries, _] in blocks.iter().map(|b| b.map(|x| x as usize)) {
            check_params(count > 0, "a block without keys")?;
            extent.queries = extent.queries.max(first + queries);
            extent.keys = extent.keys.max(key + count);
        }
        Ok(extent)
    }

    /// Elements of a matrix of the queries, and of the keys.
    fn elements(&self, heads: Heads) -> (usize, usize) {
        (volume([self.queries, heads.query_stride()]), volume([self.keys, heads.key_stride()]))
    }

    fn operands<'a>(&self, heads: Heads, call: &mut HostCall<'a>) -> Result<Operands<'a, f32>> {
        let (q, k) = self.elements(heads);
        Ok(Operands { q: floats(call, 0, q)?, k: floats(call, 1, k)?, v: floats(call, 2, k)? })
    }

    fn upstream<'a>(&self, heads: Heads, call: &mut HostCall<'a>) -> Result<Upstream<'a, f32>> {
        let stats = volume([2, self.queries, heads.query]);
        Ok(Upstream { dout: floats(call, 3, self.elements(heads).0)?, stats: floats(call, 4, stats)? })
    }
}

/// The blocks in buffer `index`, of `N` words each. The host's memory is a whole number of 8 bytes, which a buffer need not be of blocks.
fn blocks<const N: usize>(call: &mut HostCall<'_>, index: usize, p: &Params) -> Result<Vec<[u32; N]>> {
    let count = p.blocks as usize;
    let words: &[u32] = call.read_as(index, volume([count, N]))?;
    Ok(words.as_chunks().0[..count].to_vec())
}

/// Runs the kernel: buffers are q, k, v, blocks, out, lse.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn forward_twin(call: &mut HostCall<'_>) -> Result<()> {
    attend(call, false)
}

/// Runs the kernel: buffers are q, k, v, blocks, out, lse, distances.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn relative_twin(call: &mut HostCall<'_>) -> Result<()> {
    attend(call, true)
}

/// The forward, with distances or without.
fn attend(call: &mut HostCall<'_>, relative: bool) -> Result<()> {
    let p: Params = call.params()?;
    let (heads, blocks, stride) = (heads(&p)?, blocks(call, 3, &p)?, p.lse_stride as usize);
    check_params(heads.query <= stride, "more heads than a row of log-sum-exps has room for")?;
    let extent = Extent::of_queries(&blocks, mask(&p))?;
    let operands = extent.operands(heads, call)?;
    let distances = if relative { Some(distances(call, heads, &p, &blocks)?) } else { None };
    let out = floats_mut(call, 4, extent.elements(heads).0)?;
    let lse = floats_mut(call, 5, volume([extent.queries, stride]))?;
    forward_with((heads, mask(&p)), &blocks, (operands, distances), out, (lse, stride));
    Ok(())
}

/// What distances add to scores of blocks whose queries and keys are the same rows.
fn distances<'a>(
    call: &mut HostCall<'a>,
    heads: Heads,
    p: &Params,
    blocks: &[QueryBlock],
) -> Result<Distances<'a, f32>> {
    let (reach, stride) = (p.reach as usize, p.distance_stride as usize);
    check_params(volume([2, reach]) < stride, "more distances than a row of theirs has room for")?;
    let later = blocks.iter().all(|[first, _, key, _]| first >= key);
    check_params(later, "queries before the first key of their sequence")?;
    Ok(Distances { table: floats(call, 6, volume([heads.query, stride]))?, stride, reach })
}

/// Runs the kernel: buffers are dout, out, lse, stats.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn delta_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let heads = heads(&p)?;
    let (count, stride) = (p.count as usize, p.lse_stride as usize);
    check_params(heads.query <= stride, "more heads than a row of log-sum-exps has room for")?;
    let elements = volume([count.div_ceil(heads.query), heads.query_stride()]);
    let rows = (floats(call, 0, elements)?, floats(call, 1, elements)?);
    let lse = floats(call, 2, volume([count.div_ceil(heads.query), stride]))?;
    delta(heads, rows, (lse, stride), &mut floats_mut(call, 3, 2 * count)?[..2 * count]);
    Ok(())
}

/// Runs the kernel: buffers are q, k, v, dout, stats, blocks, dq.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn queries_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (heads, blocks) = (heads(&p)?, blocks(call, 5, &p)?);
    let extent = Extent::of_queries(&blocks, mask(&p))?;
    let (operands, upstream) = (extent.operands(heads, call)?, extent.upstream(heads, call)?);
    queries_backward((heads, mask(&p)), &blocks, operands, upstream, floats_mut(call, 6, extent.elements(heads).0)?);
    Ok(())
}

/// Runs the kernel: buffers are q, k, v, dout, stats, blocks, dk, dv.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn keys_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (heads, blocks) = (heads(&p)?, blocks(call, 5, &p)?);
    let extent = Extent::of_keys(&blocks)?;
    let (operands, upstream) = (extent.operands(heads, call)?, extent.upstream(heads, call)?);
    let (_, keys) = extent.elements(heads);
    keys_backward(heads, &blocks, operands, upstream, (floats_mut(call, 6, keys)?, floats_mut(call, 7, keys)?));
    Ok(())
}
