// Four f16, two to a word, as f32 bits. With integers: `unpack2x16float` may flush subnormals. One of the interchangeable
// `unpack_*` files.

fn half_bits(h: u32) -> u32 {
    let sign = (h & 0x8000u) << 16u;
    let exponent = (h >> 10u) & 31u;
    let mantissa = h & 0x3ffu;
    let normal = ((exponent + 112u) << 23u) | (mantissa << 13u);
    let special = 0x7f800000u | (mantissa << 13u);
    let subnormal = bitcast<u32>(f32(mantissa) * 5.9604644775390625e-8); // 2^-24
    return sign | select(select(normal, special, exponent == 31u), subnormal, exponent == 0u);
}

fn unpack_bits4(pair: vec2<u32>) -> vec4<u32> {
    return vec4<u32>(
        half_bits(pair.x & 0xffffu), half_bits(pair.x >> 16u),
        half_bits(pair.y & 0xffffu), half_bits(pair.y >> 16u),
    );
}
