// Operand 5 as f32, four to an entry, read from a texture: see `Capabilities::texel_reads`.

@group(0) @binding(5) var operand5: texture_2d<u32>;

fn read5(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(textureLoad(operand5, vec2<u32>(index & 4095u, index >> 12u), 0));
}
