// Blocks of Q8_0: 32 numbers of 8 bits with a scale in f16. Two blocks are 17 words, the last of which has both scales; rows follow each other
// without padding. The product of a number and its scale is exact in f32.

// Words of two blocks, which are 16 entries of four numbers.
const PAIR_WORDS: u32 = 17u;

// A scale, which is finite and not negative. With integers: `unpack2x16float` may flush subnormals.
fn q8_scale(h: u32) -> f32 {
    let normal = bitcast<f32>((h << 13u) + 0x38000000u);
    return select(normal, f32(h) * 5.9604644775390625e-8, h < 0x400u); // 2^-24
}

// Entry `index`: its word of numbers, and its pair's word of scales.
fn q8_floats(index: u32, numbers: u32, scales: u32) -> vec4<f32> {
    let scale = q8_scale(select(scales & 0xffffu, scales >> 16u, (index & 8u) != 0u));
    let bits = bitcast<i32>(numbers);
    return scale * vec4<f32>(vec4<i32>(bits << 24u, bits << 16u, bits << 8u, bits) >> vec4<u32>(24u));
}
