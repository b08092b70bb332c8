// What the kernels of attention share that hold 4 rows of one head in an invocation's registers.
//
// A head is up to 8 blocks of 16 elements; block b of row i is element 8 i + b of an array that is only indexed by constants, so that it
// stays in registers: hence loops over blocks are written out. Wider heads have a second array, for the vectors from `REST` on.

#import "nn/attention_params.wgsl"

alias Rows4 = array<mat4x4<f32>, 32>;

const REST: u32 = 32u;

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
