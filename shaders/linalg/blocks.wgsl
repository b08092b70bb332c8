// What both shapes of the matrix product share: C[m, n] = alpha op(A) op(B) + C, read in blocks of 4 x 4 elements.
//
// Rows are padded with zeros to a multiple of 4, and op(A) is masked beyond k: so op(B) may hold anything finite there.

struct Params {
    m: u32,
    n: u32,
    // End of the products that are summed, from k_first on.
    k: u32,
    alpha: f32,
    // Vectors of 4 to a row.
    a_stride: u32,
    b_stride: u32,
    c_stride: u32,
    // First tile row of this dispatch.
    first_tile: u32,
    // First rows of the operands.
    a_first: u32,
    b_first: u32,
    c_first: u32,
    // A multiple of 16.
    k_first: u32,
    // The overrides below and the epilogue's, for the host's twin.
    transpose_a: u32,
    transpose_b: u32,
    accumulate: u32,
    upper: u32,
    // First tile column of this dispatch.
    first_column: u32,
    epilogue: u32,
    // Where the grid has a third side: products that each of its layers sums, a multiple of 32. A layer's results lie behind those of
    // the layers before.
    layer: u32,
}

override TRANSPOSE_A: u32 = 0u;
override TRANSPOSE_B: u32 = 0u;
override ACCUMULATE: u32 = 0u;
// Only tiles that reach the diagonal or lie above it.
override UPPER: u32 = 0u;

@group(0) @binding(0) var<uniform> params: Params;
// A, B and C, each of an element type of its own.
#import "matrix" 1
#import "matrix" 2
#import "inout" 3
#import "epilogue"

// Four rows of a stored matrix, the vector `column` of each; rows and columns beyond the last are the last.
fn stored_a(row: u32, last: u32, column: u32) -> mat4x4<f32> {
    let at = min(column, params.a_stride - 1u);
    return mat4x4<f32>(
        read1((params.a_first + min(row, last)) * params.a_stride + at),
        read1((params.a_first + min(row + 1u, last)) * params.a_stride + at),
        read1((params.a_first + min(row + 2u, last)) * params.a_stride + at),
        read1((params.a_first + min(row + 3u, last)) * params.a_stride + at),
    );
}

fn stored_b(row: u32, last: u32, column: u32) -> mat4x4<f32> {
    let at = min(column, params.b_stride - 1u);
    return mat4x4<f32>(
        read2((params.b_first + min(row, last)) * params.b_stride + at),
        read2((params.b_first + min(row + 1u, last)) * params.b_stride + at),
        read2((params.b_first + min(row + 2u, last)) * params.b_stride + at),
        read2((params.b_first + min(row + 3u, last)) * params.b_stride + at),
    );
}

// Block of op(A): column i holds row 4 i4 + i, elements 4 k4 .. 4 k4 + 3; nothing is beyond k.
fn block_a(i4: u32, k4: u32) -> mat4x4<f32> {
    if (TRANSPOSE_A == 1u) { return transpose(stored_a(4u * k4, params.k - 1u, i4)); }
    return stored_a(4u * i4, params.m - 1u, k4);
}

// As `block_a`, with zeros beyond k.
fn masked_a(i4: u32, k4: u32) -> mat4x4<f32> {
    let inside = vec4<u32>(4u * k4) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.k);
    let block = block_a(i4, k4);
    let zero = vec4<f32>(0.0);
    return mat4x4<f32>(
        select(zero, block[0], inside),
        select(zero, block[1], inside),
        select(zero, block[2], inside),
        select(zero, block[3], inside),
    );
}

// Block of op(B): column i holds row 4 k4 + i, elements 4 j4 .. 4 j4 + 3.
fn block_b(k4: u32, j4: u32) -> mat4x4<f32> {
    if (TRANSPOSE_B == 1u) { return transpose(stored_b(4u * j4, params.n - 1u, k4)); }
    return stored_b(4u * k4, params.k - 1u, j4);
}

// Rows of the results of the layers before.
var<private> layer_row: u32 = 0u;

// The products that a layer of the grid sums: from the first on, to before the second.
fn layer_range(layer: u32) -> vec2<u32> {
    let first = params.k_first + layer * params.layer;
    layer_row = layer * params.m;
    return vec2<u32>(first, min(params.k, first + params.layer));
}

// Writes four elements of the result.
fn put(row: u32, j4: u32, value: vec4<f32>) {
    if (row < params.m && j4 < params.c_stride) {
        let at = (params.c_first + layer_row + row) * params.c_stride + j4;
        var total = params.alpha * value;
        if (ACCUMULATE == 1u) { total += read3(at); }
        let columns = vec4<u32>(4u * j4) + vec4<u32>(0u, 1u, 2u, 3u);
        write3(at, select(vec4<f32>(0.0), epilogue(row, j4, total), columns < vec4<u32>(params.n)));
    }
}
