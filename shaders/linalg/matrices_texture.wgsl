// The operands, four elements at a time, from textures: see `Capabilities::texel_reads`.

@group(0) @binding(1) var a: texture_2d<u32>;
@group(0) @binding(2) var b: texture_2d<u32>;

fn read_a(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(textureLoad(a, vec2<u32>(index & 4095u, index >> 12u), 0));
}

fn read_b(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(textureLoad(b, vec2<u32>(index & 4095u, index >> 12u), 0));
}
