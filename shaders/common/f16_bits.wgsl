// A number as f16, rounded to nearest even with integers: `pack2x16float` may truncate, and AMD's does. From half an ulp above 65,504 on
// it is infinite, a NaN stays one, and what is below half the least subnormal becomes zero.

fn f16_bits(value: f32) -> u32 {
    let b = bitcast<u32>(value);
    let sign = (b >> 16u) & 0x8000u;
    let magnitude = b & 0x7fffffffu;
    // Below 2^-14: subnormal, in units of 2^-24.
    let small = u32(round(bitcast<f32>(min(magnitude, 0x38800000u)) * 16777216.0));
    let rounded = min((magnitude + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u, 0x23c00u) - (112u << 10u);
    let number = select(rounded, small, magnitude < 0x38800000u);
    return sign | select(number, 0x7e00u, magnitude > 0x7f800000u);
}

fn f16_words(value: vec4<f32>) -> vec2<u32> {
    return vec2<u32>(
        f16_bits(value.x) | (f16_bits(value.y) << 16u),
        f16_bits(value.z) | (f16_bits(value.w) << 16u),
    );
}
