// Numbers that order as f32 do, of their bits: -0 is 0, and none is 0 but that of a NaN, which is no cosine. Comparisons of floats may
// take subnormals for 0.

fn key4(bits: vec4<u32>) -> vec4<u32> {
    let size = bits & vec4<u32>(0x7fffffffu);
    let key = select(0x80000000u + size, 0x80000000u - size, bits >= vec4<u32>(0x80000000u));
    return select(key, vec4<u32>(0u), size > vec4<u32>(0x7f800000u));
}
