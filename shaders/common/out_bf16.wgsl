// Output rows of bf16, two to a word, rounded to nearest even with integers: the same bits on every driver.

@group(0) @binding(4) var<storage, read_write> out_rows: array<vec2<u32>>;

fn bf16_bits(value: f32) -> u32 {
    let b = bitcast<u32>(value);
    return (b + 0x7fffu + ((b >> 16u) & 1u)) >> 16u;
}

fn store4(index: u32, value: vec4<f32>) {
    out_rows[index] = vec2<u32>(
        bf16_bits(value.x) | (bf16_bits(value.y) << 16u),
        bf16_bits(value.z) | (bf16_bits(value.w) << 16u),
    );
}
