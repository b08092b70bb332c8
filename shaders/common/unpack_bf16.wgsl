// Four bf16, two to a word, as f32 bits. A bf16 is the upper half of an f32: unpacking is a shift. One of the interchangeable
// `unpack_*` files.

fn unpack_bits4(pair: vec2<u32>) -> vec4<u32> {
    return vec4<u32>(pair.x << 16u, pair.x & 0xffff0000u, pair.y << 16u, pair.y & 0xffff0000u);
}
