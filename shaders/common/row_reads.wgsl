// The same of what is read at an index.

fn row_peak4(index: u32) -> u32 {
    return bits_peak4(row_bits4(index));
}

fn row_fixed4(index: u32, scale: f32) -> vec4<i32> {
    return bits_fixed4(row_bits4(index), scale);
}

fn row_float4(index: u32, scale: f32) -> vec4<f32> {
    return bits_float4(row_bits4(index), scale);
}
