// Rows of f64 brought to 32-bit fixed point by the host: the largest magnitude of a row lies in [2^30, 2^31), or the
// row is zero. The row's exponent does not matter to any kernel, for each normalises its rows.

#import "row_words4"

fn row_bits4(index: u32) -> vec4<u32> {
    return row_words4(index);
}

fn bits_peak4(bits: vec4<u32>) -> u32 {
    return select(0u, 0x3f800000u, any(bits != vec4<u32>(0u)));
}

fn bits_fixed4(bits: vec4<u32>, scale: f32) -> vec4<i32> {
    return bitcast<vec4<i32>>(bits);
}

fn bits_float4(bits: vec4<u32>, scale: f32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(bits)) * (scale * 9.313225746154785e-10); // 2^-30
}

#import "common/row_reads.wgsl"
