// Output rows of f16, two to a word, rounded to nearest even with integers (`pack2x16float` may truncate). The values
// are components of unit rows: above 65504 cannot happen, and what is below half the least subnormal becomes zero.

@group(0) @binding(4) var<storage, read_write> out_rows: array<vec2<u32>>;

fn f16_bits(value: f32) -> u32 {
    let b = bitcast<u32>(value);
    let sign = (b >> 16u) & 0x8000u;
    let magnitude = b & 0x7fffffffu;
    if (magnitude < 0x38800000u) { // below 2^-14: subnormal, in units of 2^-24
        return sign | u32(round(bitcast<f32>(magnitude) * 16777216.0));
    }
    let rounded = magnitude + 0xfffu + ((magnitude >> 13u) & 1u);
    return sign | min((rounded >> 13u) - (112u << 10u), 0x7bffu);
}

fn store4(index: u32, value: vec4<f32>) {
    out_rows[index] = vec2<u32>(
        f16_bits(value.x) | (f16_bits(value.y) << 16u),
        f16_bits(value.z) | (f16_bits(value.w) << 16u),
    );
}
