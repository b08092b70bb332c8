// What all matrix products share: C[m, n] = alpha op(A) op(B) + C, what it is asked for and how its results are written.

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
// C, in an element type of its own.
#import "inout" 3
#import "epilogue"

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
