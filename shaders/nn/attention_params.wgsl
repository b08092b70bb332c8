// What the kernels of attention share: the parameters, and heads in registers.
//
// An invocation holds 4 rows of one head. A head is up to 8 blocks of 16 elements; block b of row i is element 8 i + b of an array
// that is only indexed by constants, so that it stays in registers: hence loops over blocks are written out.

struct Params {
    // Invocations in all, and the first of this dispatch.
    count: u32,
    first: u32,
    // Query heads, and how many of them share a head of keys.
    heads: u32,
    shared_by: u32,
    // Vectors of a row.
    query4: u32,
    key4: u32,
    // Elements of a row of lse.
    lse_stride: u32,
    // 1 / sqrt(head width).
    scale: f32,
    // As WIDTH4; the host twin reads it here.
    width4: u32,
    blocks: u32,
}

// Vectors of a head.
override WIDTH4: u32 = 16u;

@group(0) @binding(0) var<uniform> params: Params;

const LEAST: f32 = -3.4e38;

alias Rows4 = array<mat4x4<f32>, 32>;

fn place(c: u32) -> u32 {
    return min(c, WIDTH4 - 1u);
}

fn keep(v: vec4<f32>, c: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), v, c < WIDTH4);
}

fn dot16(a: mat4x4<f32>, b: mat4x4<f32>) -> f32 {
    let sums = a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
    return (sums.x + sums.y) + (sums.z + sums.w);
}

// Dots of block b of four rows with another.
fn dots(rows: ptr<function, Rows4>, b: u32, other: mat4x4<f32>) -> vec4<f32> {
    return vec4<f32>(
        dot16((*rows)[b], other),
        dot16((*rows)[8u + b], other),
        dot16((*rows)[16u + b], other),
        dot16((*rows)[24u + b], other),
    );
}

// Adds multiples of a block to block b of four rows.
fn add_multiples(rows: ptr<function, Rows4>, b: u32, factors: vec4<f32>, other: mat4x4<f32>) {
    (*rows)[b] += factors.x * other;
    (*rows)[8u + b] += factors.y * other;
    (*rows)[16u + b] += factors.z * other;
    (*rows)[24u + b] += factors.w * other;
}
