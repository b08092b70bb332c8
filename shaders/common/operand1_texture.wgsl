// Operand 1 as f32, four to an entry, read from a texture: see `Capabilities::texel_reads`.

@group(0) @binding(1) var operand1: texture_2d<u32>;

fn read1(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(textureLoad(operand1, vec2<u32>(index & 4095u, index >> 12u), 0));
}
