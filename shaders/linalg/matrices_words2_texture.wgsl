// The operands, four elements at a time, from textures: see `Capabilities::texel_reads`. Those of B have 16 bits, eight to a texel.

#import "unpack"

@group(0) @binding(1) var a: texture_2d<u32>;
@group(0) @binding(2) var b: texture_2d<u32>;

fn read_a(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(textureLoad(a, vec2<u32>(index & 4095u, index >> 12u), 0));
}

fn read_b(index: u32) -> vec4<f32> {
    let texel = textureLoad(b, vec2<u32>((index >> 1u) & 4095u, index >> 13u), 0);
    return bitcast<vec4<f32>>(unpack_bits4(select(texel.xy, texel.zw, (index & 1u) == 1u)));
}
