// Operand $, which is changed in place: four elements to an entry, in f16, two to a word. One of the interchangeable `inout_*` files.

#import "common/f16_bits.wgsl"
#import "common/half_floats.wgsl"

@group(0) @binding($) var<storage, read_write> inout$: array<vec2<u32>>;

fn read$(index: u32) -> vec4<f32> {
    return half_floats(inout$[index]);
}

fn write$(index: u32, value: vec4<f32>) {
    inout$[index] = f16_words(value);
}

// Single elements, of which two share a word: for an invocation that has both.
fn read_element$(index: u32) -> f32 {
    return unpack2x16float(inout$[index / 4u][(index / 2u) % 2u])[index % 2u];
}

fn write_element$(index: u32, value: f32) {
    let word = inout$[index / 4u][(index / 2u) % 2u];
    inout$[index / 4u][(index / 2u) % 2u] = insertBits(word, f16_bits(value), 16u * (index % 2u), 16u);
}
