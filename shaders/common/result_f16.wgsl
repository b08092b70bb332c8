// Result $, four elements to an entry, rounded to f16, two to a word. One of the interchangeable `result_*` files.

#import "common/f16_bits.wgsl"

@group(0) @binding($) var<storage, read_write> result$: array<vec2<u32>>;

fn write$(index: u32, value: vec4<f32>) {
    result$[index] = f16_words(value);
}

// Half an entry.
fn write_pair$(index: u32, value: vec2<f32>) {
    result$[index / 2u][index & 1u] = f16_bits(value.x) | (f16_bits(value.y) << 16u);
}
