// Result at binding $ of attention for GPUs: vector c of rows y + 8 i of a tile, those beyond the last left out.

#import "nn/attention_stores.wgsl" $

fn store$(rows: Rows, c: u32, values: mat4x4<f32>, at: vec2<u32>) {
    let first = rows.first + at.y * rows.stride;
    if (at.y < rows.count) { store_vector$(first, c, values[0]); }
    if (at.y + 8u < rows.count) { store_vector$(first + 8u * rows.stride, c, values[1]); }
    if (at.y + 16u < rows.count) { store_vector$(first + 16u * rows.stride, c, values[2]); }
    if (at.y + 24u < rows.count) { store_vector$(first + 24u * rows.stride, c, values[3]); }
}
