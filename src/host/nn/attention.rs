//! Twins of `shaders/nn/attention*.wgsl`: tiles of 64 queries and 64 keys, a block of rows and a head to a task.

use rayon::prelude::*;

use super::block::{Strided, multiply_add};
use super::math::Float;
use super::parallel::sum_of;
use super::{floats, floats_mut};
use crate::Result;
use crate::host::real::dot;
use crate::host::{HostCall, dispatch_simd};
use crate::kernels::nn::attention::{DeltaParams, Heads, Params};
use crate::kernels::nn::spans::{KeyBlock, QueryBlock};

/// Side of a tile; blocks of rows have at most this many.
const TILE: usize = 64;

/// Heads, and the strides that follow.
#[derive(Clone, Copy, Debug)]
struct Shape<R> {
    width: usize,
    /// Query heads, and how many of them share a head of keys.
    heads: usize,
    shared_by: usize,
    /// Elements of a row.
    query: usize,
    key: usize,
    /// 1 / √width.
    scale: R,
}

impl<R: Float> Shape<R> {
    fn new(heads: Heads) -> Self {
        Shape {
            width: heads.width,
            heads: heads.query,
            shared_by: heads.query / heads.key_value,
            query: heads.query * heads.width,
            key: heads.key_value * heads.width,
            scale: R::from_f64(1.0 / (heads.width as f64).sqrt()),
        }
    }

    /// Rows `first .. first + count` of a head, times `factor`, in rows of `width`, with zeros up to a multiple of 4 rows.
    #[inline(always)]
    fn copy(&self, (data, stride): (&[R], usize), (first, count): (usize, usize), head: usize, factor: R) -> Vec<R> {
        let mut tile = vec![R::ZERO; count.next_multiple_of(4) * self.width];
        for (i, to) in tile.chunks_exact_mut(self.width).take(count).enumerate() {
            let from = &data[(first + i) * stride + head * self.width..][..self.width];
            to.iter_mut().zip(from).for_each(|(t, &f)| *t = f * factor);
        }
        tile
    }

    /// The same transposed into `tile`, `[width, TILE]`, with zeros beyond the last row.
    #[inline(always)]
    fn transpose(&self, (data, stride): (&[R], usize), (first, count): (usize, usize), head: usize, tile: &mut [R]) {
        tile.fill(R::ZERO);
        for j in 0..count {
            let from = &data[(first + j) * stride + head * self.width..][..self.width];
            for (d, &x) in from.iter().enumerate() {
                tile[d * TILE + j] = x;
            }
        }
    }

    /// `[rows, TILE]`: rows of `width` times a transposed tile.
    #[inline(always)]
    fn scores(&self, rows: &[R], transposed: &[R], out: &mut Vec<R>) {
        let count = rows.len() / self.width;
        out.clear();
        out.resize(count * TILE, R::ZERO);
        let a = Strided { data: rows, row: self.width, column: 1 };
        multiply_add((out, TILE), a, (transposed, TILE), (count, TILE, self.width));
    }
}

/// The forward's operands: `q` `[n, query * width]`, `k` and `v` `[m, key_value * width]`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a, R> {
    /// Queries.
    pub q: &'a [R],
    /// Keys.
    pub k: &'a [R],
    /// Values.
    pub v: &'a [R],
}

/// One block of queries and one head: the results in rows of `width`, and the rows' log-sum-exp.
struct ForwardTask<'a, R> {
    shape: Shape<R>,
    operands: Operands<'a, R>,
    block: QueryBlock,
    head: usize,
}

impl<R: Float> pulp::NullaryFnOnce for ForwardTask<'_, R> {
    type Output = (Vec<R>, Vec<R>);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { shape, operands: Operands { q, k, v }, block, head } = self;
        let [first, count, key, seen] = block.map(|x| x as usize);
        let (width, key_head) = (shape.width, head / shape.shared_by);
        let queries = shape.copy((q, shape.query), (first, count), head, shape.scale);
        let mut out = vec![R::ZERO; queries.len()];
        let (mut top, mut total) = (vec![R::LEAST; count], vec![R::ZERO; count]);
        let (mut transposed, mut p) = (vec![R::ZERO; width * TILE], Vec::new());
        let last = seen + count - 1;
        for j in (0..last).step_by(TILE) {
            let keys = TILE.min(last - j);
            shape.transpose((k, shape.key), (key + j, keys), key_head, &mut transposed);
            shape.scores(&queries, &transposed, &mut p);
            for i in 0..count {
                let visible = (seen + i).saturating_sub(j).min(keys);
                let (p, hidden) = p[i * TILE..(i + 1) * TILE].split_at_mut(visible);
                hidden.fill(R::ZERO);
                let most = p.iter().fold(top[i], |m, &s| m.max(s));
                p.iter_mut().for_each(|s| *s = (*s - most).exp());
                let before = (top[i] - most).exp();
                total[i] = total[i] * before + sum_of(visible, |j| p[j]);
                out[i * width..(i + 1) * width].iter_mut().for_each(|o| *o *= before);
                top[i] = most;
            }
            let values = &v[(key + j) * shape.key + key_head * width..];
            let a = Strided { data: &p, row: TILE, column: 1 };
            multiply_add((&mut out, width), a, (values, shape.key), (queries.len() / width, width, keys));
        }
        for (row, &total) in out.chunks_exact_mut(width).zip(&total) {
            let inverse = total.recip();
            row.iter_mut().for_each(|o| *o *= inverse);
        }
        (out, top.iter().zip(&total).map(|(&t, &s)| t + s.ln()).collect())
    }
}

/// Copies rows of `width` to the rows and the head of a matrix.
fn place<R: Float>(
    to: &mut [R],
    stride: usize,
    (first, count): (usize, usize),
    column: usize,
    rows: &[R],
    width: usize,
) {
    for (i, row) in rows.chunks_exact(width).take(count).enumerate() {
        to[(first + i) * stride + column..][..width].copy_from_slice(row);
    }
}

/// Every block and head, as one list of tasks.
fn tasks<B: Copy + Send>(blocks: &[B], heads: usize) -> Vec<(B, usize)> {
    blocks.iter().flat_map(|&b| (0..heads).map(move |h| (b, h))).collect()
}

/// `out` `[n, query * width]` and `lse`, rows of `lse_stride`. Blocks are `[first query row, rows (up to 64), first key row, keys that
/// the first query sees]`.
pub fn forward<R: Float>(
    heads: Heads,
    blocks: &[[u32; 4]],
    operands: Operands<'_, R>,
    out: &mut [R],
    (lse, lse_stride): (&mut [R], usize),
) {
    let shape = Shape::new(heads);
    let work = tasks(blocks, heads.query).into_par_iter();
    let done: Vec<_> =
        work.map(|(block, head)| (block, head, dispatch_simd(ForwardTask { shape, operands, block, head }))).collect();
    for ([first, count, ..], head, (rows, sums)) in done {
        let (first, count) = (first as usize, count as usize);
        place(out, shape.query, (first, count), head * heads.width, &rows, heads.width);
        place(lse, lse_stride, (first, count), head, &sums, 1);
    }
}

/// Pairs of log-sum-exp and dout · out, for each row and head of `count`; rows of lse have `lse_stride`.
pub fn delta<R: Float>(heads: Heads, (dout, out): (&[R], &[R]), (lse, lse_stride): (&[R], usize), stats: &mut [R]) {
    let width = heads.width;
    stats.par_chunks_exact_mut(2).enumerate().for_each(|(i, pair)| {
        let (row, head) = (i / heads.query, i % heads.query);
        let range = i * width..(i + 1) * width;
        pair.copy_from_slice(&[lse[row * lse_stride + head], dot(&dout[range.clone()], &out[range])]);
    });
}

/// The backward's operands besides the forward's: `dout` `[n, query * width]`, and the pairs of [`delta`].
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a, R> {
    /// Gradient of the forward's result.
    pub dout: &'a [R],
    /// Log-sum-exp and dout · out, `[n, query, 2]`.
    pub stats: &'a [R],
}

/// Scores to probabilities, and `dout · v` to the scores' gradients, rows of TILE, visible from `range(i)`.
#[inline(always)]
fn gradients<R: Float>(
    (p, d): (&mut [R], &mut [R]),
    count: usize,
    stat: impl Fn(usize) -> (R, R),
    range: impl Fn(usize) -> std::ops::Range<usize>,
) {
    for i in 0..count {
        let ((lse, delta), seen) = (stat(i), range(i));
        let (p, d) = (&mut p[i * TILE..(i + 1) * TILE], &mut d[i * TILE..(i + 1) * TILE]);
        for (p, d) in p[seen.clone()].iter_mut().zip(&mut d[seen.clone()]) {
            *p = (*p - lse).min(R::ZERO).exp();
            *d = *p * (*d - delta);
        }
        for hidden in [0..seen.start, seen.end..TILE] {
            p[hidden.clone()].fill(R::ZERO);
            d[hidden].fill(R::ZERO);
        }
    }
}

struct QueriesTask<'a, R> {
    shape: Shape<R>,
    operands: Operands<'a, R>,
    upstream: Upstream<'a, R>,
    block: QueryBlock,
    head: usize,
}

impl<R: Float> pulp::NullaryFnOnce for QueriesTask<'_, R> {
    type Output = Vec<R>;

    #[inline(always)]
    fn call(self) -> Vec<R> {
        let Self { shape, operands: Operands { q, k, v }, upstream, block, head } = self;
        let [first, count, key, seen] = block.map(|x| x as usize);
        let (width, key_head) = (shape.width, head / shape.shared_by);
        let queries = shape.copy((q, shape.query), (first, count), head, shape.scale);
        let outs = shape.copy((upstream.dout, shape.query), (first, count), head, R::ONE);
        let mut dq = vec![R::ZERO; queries.len()];
        let mut transposed = vec![R::ZERO; width * TILE];
        let (mut p, mut d) = (Vec::new(), Vec::new());
        let stat = |i: usize| {
            let at = 2 * ((first + i) * shape.heads + head);
            (upstream.stats[at], upstream.stats[at + 1])
        };
        let last = seen + count - 1;
        for j in (0..last).step_by(TILE) {
            let keys = TILE.min(last - j);
            shape.transpose((k, shape.key), (key + j, keys), key_head, &mut transposed);
            shape.scores(&queries, &transposed, &mut p);
            shape.transpose((v, shape.key), (key + j, keys), key_head, &mut transposed);
            shape.scores(&outs, &transposed, &mut d);
            gradients((&mut p, &mut d), count, stat, |i| 0..(seen + i).saturating_sub(j).min(keys));
            let rows = &k[(key + j) * shape.key + key_head * width..];
            let a = Strided { data: &d, row: TILE, column: 1 };
            multiply_add((&mut dq, width), a, (rows, shape.key), (queries.len() / width, width, keys));
        }
        dq.iter_mut().for_each(|x| *x *= shape.scale);
        dq
    }
}

/// `dq`, `[n, query * width]`; blocks as [`forward`]'s.
pub fn queries_backward<R: Float>(
    heads: Heads,
    blocks: &[[u32; 4]],
    operands: Operands<'_, R>,
    upstream: Upstream<'_, R>,
    dq: &mut [R],
) {
    let shape = Shape::new(heads);
    let work = tasks(blocks, heads.query).into_par_iter();
    let done: Vec<_> = work
        .map(|(block, head)| (block, head, dispatch_simd(QueriesTask { shape, operands, upstream, block, head })))
        .collect();
    for ([first, count, ..], head, rows) in done {
        place(dq, shape.query, (first as usize, count as usize), head * heads.width, &rows, heads.width);
    }
}

struct KeysTask<'a, R> {
    shape: Shape<R>,
    operands: Operands<'a, R>,
    upstream: Upstream<'a, R>,
    block: KeyBlock,
    head: usize,
}

impl<R: Float> pulp::NullaryFnOnce for KeysTask<'_, R> {
    type Output = (Vec<R>, Vec<R>);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { shape, operands: Operands { q, k, v }, upstream, block, head } = self;
        let [key, count, first, queries, _] = block.map(|x| x as usize);
        let (width, lower) = (shape.width, block[4] as i32 as isize);
        let (mut keys, mut values) = (vec![R::ZERO; width * TILE], vec![R::ZERO; width * TILE]);
        shape.transpose((k, shape.key), (key, count), head, &mut keys);
        shape.transpose((v, shape.key), (key, count), head, &mut values);
        let held = count.next_multiple_of(4);
        let (mut dk, mut dv) = (vec![R::ZERO; held * width], vec![R::ZERO; held * width]);
        let (mut p, mut d) = (Vec::new(), Vec::new());
        for query_head in head * shape.shared_by..(head + 1) * shape.shared_by {
            for i in (lower.max(0) as usize..queries).step_by(TILE) {
                let rows = TILE.min(queries - i);
                let tile = shape.copy((q, shape.query), (first + i, rows), query_head, shape.scale);
                let outs = shape.copy((upstream.dout, shape.query), (first + i, rows), query_head, R::ONE);
                shape.scores(&tile, &keys, &mut p);
                shape.scores(&outs, &values, &mut d);
                let stat = |r: usize| {
                    let at = 2 * ((first + i + r) * shape.heads + query_head);
                    (upstream.stats[at], upstream.stats[at + 1])
                };
                let seen = |r: usize| 0..(((i + r) as isize - lower + 1).max(0) as usize).min(count);
                gradients((&mut p, &mut d), rows, stat, seen);
                let transposed = |data| Strided { data, row: 1, column: TILE };
                multiply_add((&mut dv, width), transposed(&p), (&outs, width), (held, width, rows));
                multiply_add((&mut dk, width), transposed(&d), (&tile, width), (held, width, rows));
            }
        }
        (dk, dv)
    }
}

/// `dk` and `dv`, `[m, key_value * width]`. Blocks are `[first key row, rows (up to 64), the sequence's first query row, its queries,
/// first query that sees the first key (i32)]`.
pub fn keys_backward<R: Float>(
    heads: Heads,
    blocks: &[[u32; 5]],
    operands: Operands<'_, R>,
    upstream: Upstream<'_, R>,
    (dk, dv): (&mut [R], &mut [R]),
) {
    let shape = Shape::new(heads);
    let work = tasks(blocks, heads.key_value).into_par_iter();
    let done: Vec<_> = work
        .map(|(block, head)| (block, head, dispatch_simd(KeysTask { shape, operands, upstream, block, head })))
        .collect();
    for ([first, count, ..], head, (keys, values)) in done {
        let (rows, column) = ((first as usize, count as usize), head * heads.width);
        place(dk, shape.key, rows, column, &keys, heads.width);
        place(dv, shape.key, rows, column, &values, heads.width);
    }
}

fn heads(p: &Params) -> Heads {
    let (query, shared_by) = (p.heads as usize, p.shared_by as usize);
    Heads { query, key_value: query / shared_by, width: 4 * p.width4 as usize }
}

fn operands<'a>(call: &mut HostCall<'a>) -> Result<Operands<'a, f32>> {
    Ok(Operands { q: floats(call, 0)?, k: floats(call, 1)?, v: floats(call, 2)? })
}

fn upstream<'a>(call: &mut HostCall<'a>) -> Result<Upstream<'a, f32>> {
    Ok(Upstream { dout: floats(call, 3)?, stats: floats(call, 4)? })
}

/// Runs the kernel: buffers are q, k, v, blocks, out, lse.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn forward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (operands, blocks) = (operands(call)?, bytemuck::cast_slice::<u8, QueryBlock>(call.read(3)?));
    let (out, lse) = (floats_mut(call, 4)?, floats_mut(call, 5)?);
    forward(heads(&p), &blocks[..p.blocks as usize], operands, out, (lse, p.lse_stride as usize));
    Ok(())
}

/// Runs the kernel: buffers are dout, out, lse, stats.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn delta_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: DeltaParams = call.params()?;
    let heads = Heads { query: p.heads as usize, key_value: p.heads as usize, width: 4 * p.width4 as usize };
    let (rows, lse) = ((floats(call, 0)?, floats(call, 1)?), (floats(call, 2)?, p.lse_stride as usize));
    delta(heads, rows, lse, &mut floats_mut(call, 3)?[..2 * p.count as usize]);
    Ok(())
}

/// Runs the kernel: buffers are q, k, v, dout, stats, blocks, dq.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn queries_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (operands, upstream) = (operands(call)?, upstream(call)?);
    let blocks = bytemuck::cast_slice::<u8, QueryBlock>(call.read(5)?);
    queries_backward(heads(&p), &blocks[..p.blocks as usize], operands, upstream, floats_mut(call, 6)?);
    Ok(())
}

/// Runs the kernel: buffers are q, k, v, dout, stats, blocks, dk, dv.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn keys_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (operands, upstream) = (operands(call)?, upstream(call)?);
    // The host's memory is a whole number of 8 bytes, which the buffer need not be of blocks.
    let words: &[u32] = bytemuck::cast_slice(call.read(5)?);
    let blocks: Vec<KeyBlock> =
        words.chunks_exact(5).take(p.blocks as usize).map(|b| [b[0], b[1], b[2], b[3], b[4]]).collect();
    keys_backward(heads(&p), &blocks, operands, upstream, (floats_mut(call, 6)?, floats_mut(call, 7)?));
    Ok(())
}
