// Squared norms of the columns of [R; C], of their parts in R and in C: one invocation a column, rows one after the other.
// Method and bounds: `kernels::geometry::jacobi`.

struct Params {
    // Rows of R, of R and C, and with what rotates along beneath.
    rows: u32,
    last: u32,
    all_rows: u32,
    columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [columns, all_rows] of wide floats.
@group(0) @binding(1) var<storage, read> columns: array<vec4<u32>>;
// [columns, 2] of wide floats.
@group(0) @binding(2) var<storage, read_write> norms: array<vec4<u32>>;

#import "common/wide_float.wgsl"

fn square(column: u32, first: u32, last: u32) -> Wide {
    var sum = Wide(vec2<u32>(0u), 0, 0u);
    for (var row = first; row < last; row += 1u) {
        let x = wide_of(columns[column * params.all_rows + row]);
        sum = plus(sum, times(x, x));
    }
    return sum;
}

fn element(index: u32) {
    if (index < params.columns) {
        norms[2u * index] = words_of(square(index, 0u, params.rows));
        norms[2u * index + 1u] = words_of(square(index, params.rows, params.last));
    }
}

#import "common/elements.wgsl"
