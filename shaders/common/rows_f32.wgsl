// Rows of f32, four to a vector: [rows, width4]. One of the interchangeable `rows_*` files: each says how to
// read four neighbouring elements exactly, as f32 bits and as fixed point.

#import "row_words4"

fn row_bits4(index: u32) -> vec4<u32> {
    return row_words4(index);
}

#import "common/float_rows.wgsl"
