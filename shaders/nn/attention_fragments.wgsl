// What the kernels of attention on tensor cores share: a workgroup of four subgroups of 32 has a tile of 32 rows of one head and goes over the
// rows of the other side, 32 at a time, like FlashAttention-2 (Dao, 2023). Operands are f16, as they lie in memory; sums, scores and the softmax
// are f32; the weights by which rows are added are rounded to f16.
//
// Of the scores of 32 x 32 pairs a subgroup makes a quarter, of results of 32 x width 16 rows and every second 16 columns. In between, four
// invocations have a row of the scores, eight columns each. Columns beyond a head and rows beyond the last are zeros.
//
// The kernel imports "cores", has `fetch`, which reads an entry of one of its operands, `write`, which writes a vector of one of its results, and the
// numbers of tiles of each kind in workgroup memory.

#import "nn/attention_params.wgsl"
#import "line"

const TILE: u32 = 32u;
const LANES: u32 = 32u;
const INVOCATIONS: u32 = 128u;
// Eights of a row, and vectors of four of a tile.
const EIGHTS: u32 = LINE / 2u - 1u;
const ENTRIES: u32 = TILE * LINE;
// From a row of weights to the next, and from one of scores.
const WEIGHT_LINE: u32 = 10u;
const SCORE_LINE: u32 = 9u;
const WEIGHT_ENTRIES: u32 = TILE * WEIGHT_LINE;
const SCORE_ENTRIES: u32 = TILE * SCORE_LINE;

// Tiles of operands, and after them tiles of weights.
var<workgroup> halves: array<vec4<f16>, TILES * ENTRIES + WEIGHT_TILES * WEIGHT_ENTRIES>;
var<workgroup> scores: array<vec4<f32>, SCORE_TILES * SCORE_ENTRIES>;

struct Place {
    subgroup: u32,
    lane: u32,
}

// Eight elements of a row.
struct Eight {
    low: vec4<f16>,
    high: vec4<f16>,
}

// What an invocation brings of a tile.
struct Eights {
    e0: Eight,
    e1: Eight,
    e2: Eight,
    e3: Eight,
}

// Rows of one head of an operand.
struct Rows {
    operand: u32,
    // First eight, and eights from a row to the next.
    first: u32,
    stride: u32,
    count: u32,
}

fn bring_one(rows: Rows, place: u32) -> Eight {
    let row = place / EIGHTS;
    let eight = place % EIGHTS;
    if (row < rows.count && 2u * eight < WIDTH4) { return fetch(rows.operand, rows.first + row * rows.stride + eight); }
    return Eight();
}

// Reads a tile's rows, of which `keep_tile` puts them into workgroup memory.
fn bring(rows: Rows, index: u32) -> Eights {
    var eights: Eights;
    eights.e0 = bring_one(rows, index);
    eights.e1 = bring_one(rows, index + INVOCATIONS);
    if (EIGHTS > 8u) {
        eights.e2 = bring_one(rows, index + 2u * INVOCATIONS);
        eights.e3 = bring_one(rows, index + 3u * INVOCATIONS);
    }
    return eights;
}

fn keep_one(tile: u32, place: u32, eight: Eight) {
    let at = tile * ENTRIES + (place / EIGHTS) * LINE + 2u * (place % EIGHTS);
    halves[at] = eight.low;
    halves[at + 1u] = eight.high;
}

fn keep_tile(tile: u32, eights: Eights, index: u32) {
    keep_one(tile, index, eights.e0);
    keep_one(tile, index + INVOCATIONS, eights.e1);
    if (EIGHTS > 8u) {
        keep_one(tile, index + 2u * INVOCATIONS, eights.e2);
        keep_one(tile, index + 3u * INVOCATIONS, eights.e3);
    }
}

// First row of a subgroup's quarter of the scores, and of its results.
fn first_row(place: Place) -> u32 {
    return 16u * (place.subgroup / 2u);
}

// Dots of the rows of tile a with those of tile b.
fn put_dots(a: u32, b: u32, scores_tile: u32, place: Place) {
    let row = first_row(place);
    let column = 16u * (place.subgroup % 2u);
    let from_a = a * ENTRIES + row * LINE;
    let from_b = b * ENTRIES + column * LINE;
    var dots: Sums;
    for (var c = 0u; c < WIDTH4; c += 4u) {
        dots = multiply_add(left(from_a + c, LINE), right_of_columns(from_b + c, LINE), dots);
    }
    put_fragment(dots, scores_tile * SCORE_ENTRIES + row * SCORE_LINE + column / 4u, SCORE_LINE);
}

// Two vectors of scores in an invocation's row.
struct Pair {
    low: vec4<f32>,
    high: vec4<f32>,
}

// The columns of an invocation's pair.
fn low_columns(index: u32) -> vec4<u32> {
    return 8u * (index % 4u) + vec4<u32>(0u, 1u, 2u, 3u);
}

fn pair_of(scores_tile: u32, index: u32) -> Pair {
    let at = scores_tile * SCORE_ENTRIES + (index / 4u) * SCORE_LINE + 2u * (index % 4u);
    return Pair(scores[at], scores[at + 1u]);
}

fn weights_at(tile: u32) -> u32 {
    return TILES * ENTRIES + tile * WEIGHT_ENTRIES;
}

fn put_pair(tile: u32, pair: Pair, index: u32) {
    let at = weights_at(tile) + (index / 4u) * WEIGHT_LINE + 2u * (index % 4u);
    halves[at] = vec4<f16>(pair.low);
    halves[at + 1u] = vec4<f16>(pair.high);
}

// The vector of four at which a subgroup's columns `chunk` begin: those of the two subgroups of a row take turns.
fn first_column(chunk: u32, place: Place) -> u32 {
    return 4u * (2u * chunk + place.subgroup % 2u);
}

// The weights of a subgroup's 16 rows for 16 rows of a tile, from its row k on.
fn weights_of(weights_tile: u32, k: u32, place: Place) -> Left {
    return left(weights_at(weights_tile) + first_row(place) * WEIGHT_LINE + k / 4u, WEIGHT_LINE);
}

// Adds the 32 rows of a tile by their weights.
fn add_rows(first: Left, last: Left, tile: u32, chunk: u32, sums: Sums, place: Place) -> Sums {
    let rows = tile * ENTRIES + first_column(chunk, place);
    return multiply_add(last, right(rows + 16u * LINE, LINE), multiply_add(first, right(rows, LINE), sums));
}

// Writes a subgroup's columns `chunk` of a result, by way of its part of `scores`.
fn put_result(result: u32, chunk: u32, sums: Sums, rows: Rows, place: Place) {
    let part = 64u * place.subgroup;
    workgroupBarrier();
    put_fragment(sums, part, 4u);
    workgroupBarrier();
    for (var i = place.lane; i < 64u; i += LANES) {
        let row = first_row(place) + i / 4u;
        let column = first_column(chunk, place) + i % 4u;
        if (row < rows.count && column < WIDTH4) {
            write(result, 2u * (rows.first + row * rows.stride) + column, row, scores[part + i]);
        }
    }
}
