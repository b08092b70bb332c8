// To each row, the row of a table that its id names: y[i] += table[ids[i]]. An id beyond the rows adds nothing.

struct Params {
    // Vectors of y, and of a row.
    count: u32,
    width4: u32,
    table_rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let id = ids[at / params.width4];
    let added = table[min(id, params.table_rows - 1u) * params.width4 + at % params.width4];
    let value = y[at] + select(vec4<f32>(0.0), added, id < params.table_rows);
    if (index < params.count) { y[index] = value; }
}

#import "common/elements.wgsl"
