// What the kernels of attention for GPUs share: a workgroup of 8 x 8 invocations has a tile of 32 rows of one head and goes over the
// rows of the other side, 32 at a time, like FlashAttention-2 (Dao, 2023).
//
// Both steps are products in registers from slices in workgroup memory: the scores of 32 x 32 pairs, of which invocation (x, y) makes
// rows y + 8 i by columns x + 8 t; and what the 32 columns' rows add to results of 32 x width, of which it holds rows y + 8 i by
// vectors x + 8 m. Arrays of sums are only indexed by constants, so that they stay in registers.
//
// Of results that are wider than 32 vectors a workgroup makes a half: two of them make the same scores, each for its own.
//
// The kernel has `fetch`, which reads a vector of a head of one of its operands.

#import "nn/attention_params.wgsl"

const TILE: u32 = 32u;
// From a row in workgroup memory to the next: 8 vectors, and one so that neighbouring rows begin in other banks.
const PITCH: u32 = 9u;
const COLUMNS: u32 = TILE * PITCH;

// Slices of 32 rows by 8 vectors of both sides; or one of 512 vectors.
var<workgroup> slices: array<vec4<f32>, 2u * COLUMNS>;
// For each column, its weights in rows y + 8 i, at y.
var<workgroup> weights: array<vec4<f32>, COLUMNS>;

// Rows of one head of an operand.
struct Rows {
    operand: u32,
    // Where the first begins, and how far it is from a row to the next.
    first: u32,
    stride: u32,
    count: u32,
}

// Parts of a result's vectors, and vectors of each: a multiple of 8, but for the last.
fn parts() -> u32 {
    return (WIDTH4 + 31u) / 32u;
}

fn part4() -> u32 {
    return 8u * ((WIDTH4 + 8u * parts() - 1u) / (8u * parts()));
}

// Rows beyond the last are the last; vectors beyond the head are zero.
fn vector(rows: Rows, row: u32, c: u32) -> vec4<f32> {
    return fetch(rows.operand, rows.first + min(row, rows.count - 1u) * rows.stride, c);
}

fn add_dots(sums: vec4<f32>, a: mat4x4<f32>, b: vec4<f32>) -> vec4<f32> {
    let half = fma(vec4<f32>(b.y), a[1], fma(vec4<f32>(b.x), a[0], sums));
    return fma(vec4<f32>(b.w), a[3], fma(vec4<f32>(b.z), a[2], half));
}

// Adds the products of vector c of the slices.
fn add_slice(sums: mat4x4<f32>, at: vec2<u32>, c: u32) -> mat4x4<f32> {
    let row = at.y * PITCH + c;
    let column = COLUMNS + at.x * PITCH + c;
    let a = transpose(mat4x4<f32>(
        slices[row],
        slices[row + 8u * PITCH],
        slices[row + 16u * PITCH],
        slices[row + 24u * PITCH],
    ));
    return mat4x4<f32>(
        add_dots(sums[0], a, slices[column]),
        add_dots(sums[1], a, slices[column + 8u * PITCH]),
        add_dots(sums[2], a, slices[column + 16u * PITCH]),
        add_dots(sums[3], a, slices[column + 24u * PITCH]),
    );
}

// Dots of the rows of a with those of b: element i of vector t is of row y + 8 i and column x + 8 t.
fn product(a: Rows, b: Rows, at: vec2<u32>) -> mat4x4<f32> {
    var sums = mat4x4<f32>();
    let row = at.y * PITCH + at.x;
    for (var first = 0u; first < WIDTH4; first += 8u) {
        let c = first + at.x;
        let a0 = vector(a, at.y, c);
        let a1 = vector(a, at.y + 8u, c);
        let a2 = vector(a, at.y + 16u, c);
        let a3 = vector(a, at.y + 24u, c);
        let b0 = vector(b, at.y, c);
        let b1 = vector(b, at.y + 8u, c);
        let b2 = vector(b, at.y + 16u, c);
        let b3 = vector(b, at.y + 24u, c);
        workgroupBarrier();
        slices[row] = a0;
        slices[row + 8u * PITCH] = a1;
        slices[row + 16u * PITCH] = a2;
        slices[row + 24u * PITCH] = a3;
        slices[COLUMNS + row] = b0;
        slices[COLUMNS + row + 8u * PITCH] = b1;
        slices[COLUMNS + row + 16u * PITCH] = b2;
        slices[COLUMNS + row + 24u * PITCH] = b3;
        workgroupBarrier();
        sums = add_slice(sums, at, 0u);
        sums = add_slice(sums, at, 1u);
        sums = add_slice(sums, at, 2u);
        sums = add_slice(sums, at, 3u);
        sums = add_slice(sums, at, 4u);
        sums = add_slice(sums, at, 5u);
        sums = add_slice(sums, at, 6u);
        sums = add_slice(sums, at, 7u);
    }
    return sums;
}

// The weights of the 32 x 32 pairs, for `accumulate`; as `product` has them.
fn put_weights(columns: mat4x4<f32>, at: vec2<u32>) {
    let first = at.x * PITCH + at.y;
    weights[first] = columns[0];
    weights[first + 8u * PITCH] = columns[1];
    weights[first + 16u * PITCH] = columns[2];
    weights[first + 24u * PITCH] = columns[3];
}

// Vector i of matrix m is vector x + 8 m, from the part's first one on, of row y + 8 i.
alias Sums = array<mat4x4<f32>, 4>;

fn blend(sums: mat4x4<f32>, p: vec4<f32>, v: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        fma(vec4<f32>(p.x), v, sums[0]),
        fma(vec4<f32>(p.y), v, sums[1]),
        fma(vec4<f32>(p.z), v, sums[2]),
        fma(vec4<f32>(p.w), v, sums[3]),
    );
}

fn add_row(sums: ptr<function, Sums>, p: vec4<f32>, first: u32) {
    (*sums)[0] = blend((*sums)[0], p, slices[first]);
    if (part4() > 8u) { (*sums)[1] = blend((*sums)[1], p, slices[first + 8u]); }
    if (part4() > 16u) { (*sums)[2] = blend((*sums)[2], p, slices[first + 16u]); }
    if (part4() > 24u) { (*sums)[3] = blend((*sums)[3], p, slices[first + 24u]); }
}

// Adds the 32 rows of b, each by its weights, from vector `start` on: those beyond the last must weigh nothing.
fn accumulate(sums: ptr<function, Sums>, b: Rows, start: u32, at: vec2<u32>) {
    // 512 vectors at a time: all rows of a narrow head, half of them of a wide one.
    let width = select(16u, 32u, part4() > 16u);
    let rows = 512u / width;
    let local = 8u * at.y + at.x;
    let c = start + local % width;
    let step = 64u / width;
    for (var first = 0u; first < TILE; first += rows) {
        let row = first + local / width;
        let v0 = vector(b, row, c);
        let v1 = vector(b, row + step, c);
        let v2 = vector(b, row + 2u * step, c);
        let v3 = vector(b, row + 3u * step, c);
        let v4 = vector(b, row + 4u * step, c);
        let v5 = vector(b, row + 5u * step, c);
        let v6 = vector(b, row + 6u * step, c);
        let v7 = vector(b, row + 7u * step, c);
        workgroupBarrier();
        slices[local] = v0;
        slices[local + 64u] = v1;
        slices[local + 128u] = v2;
        slices[local + 192u] = v3;
        slices[local + 256u] = v4;
        slices[local + 320u] = v5;
        slices[local + 384u] = v6;
        slices[local + 448u] = v7;
        workgroupBarrier();
        for (var j = 0u; j < rows; j += 4u) {
            let weight = (first + j) * PITCH + at.y;
            let slice = j * width + at.x;
            add_row(sums, weights[weight], slice);
            add_row(sums, weights[weight + PITCH], slice + width);
            add_row(sums, weights[weight + 2u * PITCH], slice + 2u * width);
            add_row(sums, weights[weight + 3u * PITCH], slice + 3u * width);
        }
    }
}

// Rows y + 8 i, or columns x + 8 t.
fn every_eighth(first: u32) -> vec4<u32> {
    return vec4<u32>(first) + vec4<u32>(0u, 8u, 16u, 24u);
}
