// Output rows of f16, two to a word. One of the interchangeable `out_*` files.

#import "common/f16_bits.wgsl"

@group(0) @binding(4) var<storage, read_write> out_rows: array<vec2<u32>>;

fn store4(index: u32, value: vec4<f32>) {
    out_rows[index] = f16_words(value);
}
