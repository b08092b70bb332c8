// Four f16, two to a word, as f32: exact, though a driver may take a subnormal for zero.

fn half_floats(pair: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
}
