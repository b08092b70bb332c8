// Operand $ as f32, four to an entry, from blocks of Q8_0 in a texture, four words to a texel: see `Capabilities::texel_reads`.

#import "common/q8_blocks.wgsl"

@group(0) @binding($) var operand$: texture_2d<u32>;

fn word$(word: u32) -> u32 {
    let texel = textureLoad(operand$, vec2<u32>((word >> 2u) & 4095u, word >> 14u), 0);
    let half = select(texel.xy, texel.zw, (word & 2u) != 0u);
    return select(half.x, half.y, (word & 1u) != 0u);
}

fn read$(index: u32) -> vec4<f32> {
    let pair = PAIR_WORDS * (index >> 4u);
    return q8_floats(index, word$(pair + (index & 15u)), word$(pair + 16u));
}
