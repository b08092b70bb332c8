// Operand $ as f32, four to an entry, from f16 in a texture, eight to a texel: see `Capabilities::texel_reads`.

#import "common/half_floats.wgsl"

@group(0) @binding($) var operand$: texture_2d<u32>;

fn read$(index: u32) -> vec4<f32> {
    let texel = textureLoad(operand$, vec2<u32>((index >> 1u) & 4095u, index >> 13u), 0);
    return half_floats(select(texel.xy, texel.zw, (index & 1u) == 1u));
}
