// Operand $ as f32, four to an entry, read from a texture: see `Capabilities::texel_reads`.

@group(0) @binding($) var operand$: texture_2d<u32>;

fn read$(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(textureLoad(operand$, vec2<u32>(index & 4095u, index >> 12u), 0));
}
