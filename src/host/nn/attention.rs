//! Attention on slices, for the twins of `shaders/nn/attention*.wgsl`: tiles of 64 queries by 128 keys, or the reverse; a block of rows and a
//! head to a task. faer multiplies the tiles where they lie.

use bytemuck::{Pod, Zeroable};
use faer::MatRef;
use rayon::prelude::*;

use super::block::{multiply, rows};
use super::math::Float;
use super::parallel::sum_of;
use crate::host::dispatch_simd;
use crate::host::real::{Real, dot};

/// Keys of one head: first row, rows, the sequence's first query row and queries, and (i32) the first query that sees the first key.
pub(crate) type KeyBlock = [u32; 5];

/// Queries of one head: first row, rows, first key row, keys that the first query sees.
pub(crate) type QueryBlock = [u32; 4];

/// The heads of an attention, and what they make of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Query heads; a multiple of `key_value`.
    pub query: usize,
    /// Heads of keys and values.
    pub key_value: usize,
    /// Elements of a head: an even number, at most `kernels::nn::attention::MAX_WIDTH`.
    pub width: usize,
    /// What dots of queries and keys are multiplied by: a finite number above 0.
    pub scale: f32,
    /// Keys that a query sees at most, its own and those right before it; `None` for all before it. A query at position `i` of a sequence
    /// sees the keys `j` with `i - window < j <= i`.
    pub window: Option<u32>,
}

impl Heads {
    /// Heads that scale by `1 / √width` and see everything before.
    pub fn new(query: usize, key_value: usize, width: usize) -> Self {
        Heads { query, key_value, width, scale: (1.0 / (width as f64).sqrt()) as f32, window: None }
    }

    /// Elements from a row of queries to the next: rows are filled up to vectors of four.
    pub(crate) fn query_stride(&self) -> usize {
        (self.query * self.width).next_multiple_of(4)
    }

    /// The same of keys and values.
    pub(crate) fn key_stride(&self) -> usize {
        (self.key_value * self.width).next_multiple_of(4)
    }
}

/// Which keys the queries of a sequence see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Their own and those before it, as far as a window reaches.
    Causal,
    /// All of the sequence's.
    Full,
}

impl Mask {
    /// Keys by which a query sees more than the one before, as the parameter blocks have it.
    pub(crate) fn step(self) -> u32 {
        u32::from(self == Mask::Causal)
    }
}

/// [`Params::window`] of all keys: no two places of a sequence are so far from each other.
pub(crate) const ALL_KEYS: u32 = 1 << 31;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub first: u32,
    pub heads: u32,
    pub shared_by: u32,
    pub query_stride: u32,
    pub key_stride: u32,
    pub lse_stride: u32,
    pub scale: f32,
    pub width: u32,
    pub blocks: u32,
    pub window: u32,
    pub causal: u32,
    pub reach: u32,
    pub distance_stride: u32,
    pub padding: [u32; 2],
}

/// Rows of the other side that a block meets at a time.
const TILE: usize = 128;

/// Heads, and the strides that follow.
#[derive(Clone, Copy, Debug)]
struct Shape<R> {
    width: usize,
    /// Query heads, and how many of them share a head of keys.
    heads: usize,
    shared_by: usize,
    /// Elements from a row to the next.
    query: usize,
    key: usize,
    scale: R,
    /// Keys that a query sees at most.
    window: usize,
    /// Keys by which a query of a block sees more than the one before: 1, or 0 where all see the same.
    step: usize,
}

impl<R: Float> Shape<R> {
    fn new(heads: Heads, mask: Mask) -> Self {
        Shape {
            width: heads.width,
            heads: heads.query,
            shared_by: heads.query / heads.key_value,
            query: heads.query_stride(),
            key: heads.key_stride(),
            scale: R::from_f64(f64::from(heads.scale)),
            window: heads.window.unwrap_or(ALL_KEYS) as usize,
            step: mask.step() as usize,
        }
    }

    /// `count` rows of a query head, from row `first` on.
    fn query<'a>(&self, data: &'a [R], (first, count): (usize, usize), head: usize) -> MatRef<'a, R> {
        rows(&data[first * self.query + head * self.width..], self.query, (count, self.width))
    }

    /// The same of a head of keys or values.
    fn key<'a>(&self, data: &'a [R], (first, count): (usize, usize), head: usize) -> MatRef<'a, R> {
        rows(&data[first * self.key + head * self.width..], self.key, (count, self.width))
    }
}

/// Which of a tile's keys its rows see: each row one more and one later than the row before, or all the same.
#[derive(Clone, Copy)]
struct Seen {
    /// Keys of the tile.
    keys: usize,
    /// Keys that the first row sees from the tile's start on, but for the window: none if negative.
    end: isize,
    window: usize,
    step: usize,
}

impl Seen {
    #[inline(always)]
    fn of_row(&self, i: usize) -> (usize, usize) {
        let within = |place: isize| place.clamp(0, self.keys as isize) as usize;
        let end = self.end + (self.step * i) as isize;
        (within(end - self.window as isize), within(end))
    }
}

/// The forward's operands: `q` `[n, query * width]`, `k` and `v` `[m, key_value * width]`, rows filled up to a multiple of 4 elements.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a, R> {
    /// Queries.
    pub q: &'a [R],
    /// Keys.
    pub k: &'a [R],
    /// Values.
    pub v: &'a [R],
}

/// What is added to scores by how far a key is from its query, both at their places in a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Distances<'a, R> {
    /// A row for each query head: what keys get from `reach` places before the query on, to `reach` behind it. Further ones get the nearest's.
    pub table: &'a [R],
    /// Elements from a row to the next.
    pub stride: usize,
    /// Places on either side.
    pub reach: usize,
}

impl<R: Float> Distances<'_, R> {
    /// Adds to scores of the keys from place `key` on by the query at place `query`.
    fn add_to(&self, scores: &mut [R], head: usize, (query, key): (usize, usize)) {
        let row = &self.table[head * self.stride..][..2 * self.reach + 1];
        let before = |place: usize| place.saturating_sub(key).min(scores.len());
        let (start, end) = (before(query.saturating_sub(self.reach)), before(query + self.reach + 1));
        let first = (key + start + self.reach).saturating_sub(query);
        scores[..start].iter_mut().for_each(|s| *s += row[0]);
        scores[start..end].iter_mut().zip(row.iter().skip(first)).for_each(|(s, x)| *s += *x);
        scores[end..].iter_mut().for_each(|s| *s += row[2 * self.reach]);
    }
}

/// A tile of scores to exponentials about the rows' running maxima; what was summed so far is brought to the new maxima.
struct Exponentials<'a, R> {
    scores: &'a mut [R],
    seen: Seen,
    top: &'a mut [R],
    total: &'a mut [R],
    out: &'a mut [R],
    width: usize,
}

impl<R: Float> pulp::NullaryFnOnce for Exponentials<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.scores.chunks_exact_mut(self.seen.keys).zip(self.out.chunks_exact_mut(self.width));
        for (i, (scores, out)) in rows.enumerate() {
            let (start, end) = self.seen.of_row(i);
            scores[..start].fill(R::ZERO);
            scores[end..].fill(R::ZERO);
            let p = &mut scores[start..end];
            let before = self.top[i];
            let most = p.iter().fold(before, |m, &s| Float::max(m, s));
            for s in p.iter_mut() {
                *s = Float::exp(*s - most);
            }
            let factor = Float::exp(before - most);
            self.total[i] = self.total[i] * factor + sum_of([p], |[x]| x);
            if factor != R::ONE {
                for o in out.iter_mut() {
                    *o *= factor;
                }
            }
            self.top[i] = most;
        }
    }
}

/// One block of queries and one head: the results in rows of `width`, and the rows' log-sum-exp.
fn forward_block<R: Float>(
    shape: Shape<R>,
    Operands { q, k, v }: Operands<'_, R>,
    distances: Option<Distances<'_, R>>,
    (block, head): (QueryBlock, usize),
) -> (Vec<R>, Vec<R>) {
    let [first, count, key, seen] = block.map(|x| x as usize);
    let (width, key_head) = (shape.width, head / shape.shared_by);
    let queries = shape.query(q, (first, count), head);
    let (begin, last) = (seen.saturating_sub(shape.window), seen + shape.step * (count - 1));
    // Of short sequences a part of a tile.
    let (mut out, mut scores) = (vec![R::ZERO; count * width], vec![R::ZERO; count * TILE.min(last - begin)]);
    let (mut top, mut total) = (vec![R::LEAST; count], vec![R::ZERO; count]);
    for j in (begin..last).step_by(TILE) {
        let keys = TILE.min(last - j);
        let scores = &mut scores[..count * keys];
        let tile = (key + j, keys);
        multiply((scores, keys), false, (queries, shape.key(k, tile, key_head).transpose()), shape.scale);
        if let Some(distances) = &distances {
            // Queries and keys are the same rows.
            let places = (first - key..).zip(scores.chunks_exact_mut(keys));
            places.for_each(|(query, scores)| distances.add_to(scores, head, (query, j)));
        }
        let seen = Seen { keys, end: seen as isize - j as isize, window: shape.window, step: shape.step };
        let (top, total, out) = (&mut top[..], &mut total[..], &mut out[..]);
        dispatch_simd(Exponentials { scores, seen, top, total, out, width });
        let p = rows(scores, keys, (count, keys));
        multiply((out, width), true, (p, shape.key(v, tile, key_head)), R::ONE);
    }
    for (row, &total) in out.chunks_exact_mut(width).zip(&total) {
        let inverse = Real::recip(total);
        row.iter_mut().for_each(|o| *o *= inverse);
    }
    (out, top.iter().zip(&total).map(|(&t, &s)| t + Float::ln(s)).collect())
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
    heads: (Heads, Mask),
    blocks: &[[u32; 4]],
    operands: Operands<'_, R>,
    out: &mut [R],
    lse: (&mut [R], usize),
) {
    forward_with(heads, blocks, (operands, None), out, lse);
}

/// As [`forward`], of scores that distances add to. Queries and keys are then the same rows: no block's first query row is before its first key row.
pub fn forward_with<R: Float>(
    (heads, mask): (Heads, Mask),
    blocks: &[[u32; 4]],
    (operands, distances): (Operands<'_, R>, Option<Distances<'_, R>>),
    out: &mut [R],
    (lse, lse_stride): (&mut [R], usize),
) {
    let shape = Shape::new(heads, mask);
    let work = tasks(blocks, heads.query).into_par_iter();
    let done: Vec<_> = work.map(|task| (task, forward_block(shape, operands, distances, task))).collect();
    for (([first, count, ..], head), (rows, sums)) in done {
        let (first, count) = (first as usize, count as usize);
        place(out, shape.query, (first, count), head * heads.width, &rows, heads.width);
        place(lse, lse_stride, (first, count), head, &sums, 1);
    }
}

/// Pairs of log-sum-exp and dout · out, for each row and head of `count`; rows of lse have `lse_stride`.
pub fn delta<R: Float>(heads: Heads, (dout, out): (&[R], &[R]), (lse, lse_stride): (&[R], usize), stats: &mut [R]) {
    let (width, stride) = (heads.width, heads.query_stride());
    stats.par_chunks_exact_mut(2).enumerate().with_min_len(64).for_each(|(i, pair)| {
        let (row, head) = (i / heads.query, i % heads.query);
        let first = row * stride + head * width;
        let range = first..first + width;
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

/// A tile of scores to probabilities, and of `dout · v` to the scores' gradients.
struct Slopes<'a, R> {
    p: &'a mut [R],
    d: &'a mut [R],
    seen: Seen,
    /// The pairs of [`delta`] from the first row and this head on, and the elements from one row's pair to the next.
    stats: &'a [R],
    stride: usize,
}

impl<R: Float> pulp::NullaryFnOnce for Slopes<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let keys = self.seen.keys;
        let tiles = self.p.chunks_exact_mut(keys).zip(self.d.chunks_exact_mut(keys));
        for (i, (p, d)) in tiles.enumerate() {
            let (lse, delta) = (self.stats[i * self.stride], self.stats[i * self.stride + 1]);
            let (start, end) = self.seen.of_row(i);
            for hidden in [0..start, end..keys] {
                p[hidden.clone()].fill(R::ZERO);
                d[hidden].fill(R::ZERO);
            }
            for (p, d) in p[start..end].iter_mut().zip(&mut d[start..end]) {
                *p = Float::exp(Float::min(*p - lse, R::ZERO));
                *d = *p * (*d - delta);
            }
        }
    }
}

/// Room for two tiles.
struct Tiles<R> {
    p: Vec<R>,
    d: Vec<R>,
}

impl<R: Float> Tiles<R> {
    fn new(rows: usize, keys: usize) -> Self {
        Tiles { p: vec![R::ZERO; rows * keys], d: vec![R::ZERO; rows * keys] }
    }

    /// Probabilities and the scores' gradients, `[rows, keys]`, of some queries of one head by some keys.
    fn fill(
        &mut self,
        shape: &Shape<R>,
        Operands { q, k, v }: Operands<'_, R>,
        Upstream { dout, stats }: Upstream<'_, R>,
        (queries, keys): ((usize, usize), (usize, usize)),
        (head, seen, step): (usize, isize, usize),
    ) -> [MatRef<'_, R>; 2] {
        let (key_head, (count, width)) = (head / shape.shared_by, (queries.1, keys.1));
        let (p, d) = (&mut self.p[..count * width], &mut self.d[..count * width]);
        let key = |data| shape.key(data, keys, key_head).transpose();
        multiply((p, width), false, (shape.query(q, queries, head), key(k)), shape.scale);
        multiply((d, width), false, (shape.query(dout, queries, head), key(v)), R::ONE);
        let stats = &stats[2 * (queries.0 * shape.heads + head)..];
        let seen = Seen { keys: width, end: seen, window: shape.window, step };
        dispatch_simd(Slopes { p, d, seen, stats, stride: 2 * shape.heads });
        [rows(p, width, (count, width)), rows(d, width, (count, width))]
    }
}

fn queries_block<R: Float>(
    shape: Shape<R>,
    operands: Operands<'_, R>,
    upstream: Upstream<'_, R>,
    block: QueryBlock,
    head: usize,
) -> Vec<R> {
    let [first, count, key, seen] = block.map(|x| x as usize);
    let (width, key_head) = (shape.width, head / shape.shared_by);
    let mut dq = vec![R::ZERO; count * width];
    let mut tiles = Tiles::new(count, TILE);
    let last = seen + shape.step * (count - 1);
    for j in (seen.saturating_sub(shape.window)..last).step_by(TILE) {
        let keys = (key + j, TILE.min(last - j));
        let sees = seen as isize - j as isize;
        let [_, d] = tiles.fill(&shape, operands, upstream, ((first, count), keys), (head, sees, shape.step));
        multiply((&mut dq, width), true, (d, shape.key(operands.k, keys, key_head)), shape.scale);
    }
    dq
}

/// `dq`, `[n, query * width]`; blocks as [`forward`]'s.
pub fn queries_backward<R: Float>(
    (heads, mask): (Heads, Mask),
    blocks: &[[u32; 4]],
    operands: Operands<'_, R>,
    upstream: Upstream<'_, R>,
    dq: &mut [R],
) {
    let shape = Shape::new(heads, mask);
    let work = tasks(blocks, heads.query).into_par_iter();
    let done: Vec<_> =
        work.map(|(block, head)| (block, head, queries_block(shape, operands, upstream, block, head))).collect();
    for ([first, count, ..], head, rows) in done {
        place(dq, shape.query, (first as usize, count as usize), head * heads.width, &rows, heads.width);
    }
}

fn keys_block<R: Float>(
    shape: Shape<R>,
    operands: Operands<'_, R>,
    upstream: Upstream<'_, R>,
    block: KeyBlock,
    head: usize,
) -> (Vec<R>, Vec<R>) {
    let [key, count, first, queries, _] = block.map(|x| x as usize);
    let (width, lower) = (shape.width, block[4] as i32 as isize);
    // Queries after the last that sees the last key.
    let end = (lower + (count - 1 + shape.window) as isize).clamp(0, queries as isize) as usize;
    let (mut dk, mut dv) = (vec![R::ZERO; count * width], vec![R::ZERO; count * width]);
    let mut tiles = Tiles::new(TILE, count);
    for query_head in head * shape.shared_by..(head + 1) * shape.shared_by {
        for i in (lower.max(0) as usize..end).step_by(TILE) {
            let chosen = (first + i, TILE.min(end - i));
            let seen = i as isize - lower + 1;
            let [p, d] = tiles.fill(&shape, operands, upstream, (chosen, (key, count)), (query_head, seen, 1));
            let query = |data| shape.query(data, chosen, query_head);
            multiply((&mut dv, width), true, (p.transpose(), query(upstream.dout)), R::ONE);
            multiply((&mut dk, width), true, (d.transpose(), query(operands.q)), shape.scale);
        }
    }
    (dk, dv)
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
    // Its blocks say which queries see a key.
    let shape = Shape::new(heads, Mask::Causal);
    let work = tasks(blocks, heads.key_value).into_par_iter();
    let done: Vec<_> =
        work.map(|(block, head)| (block, head, keys_block(shape, operands, upstream, block, head))).collect();
    for ([first, count, ..], head, (keys, values)) in done {
        let (rows, column) = ((first as usize, count as usize), head * heads.width);
        place(dk, shape.key, rows, column, &keys, heads.width);
        place(dv, shape.key, rows, column, &values, heads.width);
    }
}
