// Rows of f32, four to a vector: [rows, width4]. One of the interchangeable `rows_*` files: each declares the binding
// and how to read four neighbouring elements exactly, as f32 bits and as fixed point.

@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;

fn row_bits4(index: u32) -> vec4<u32> {
    return rows[index];
}

#import "common/float_rows.wgsl"
