// What every floating-point row type has in common.

/// Largest magnitude of four elements, as f32 bits (which order like the magnitudes; 0x7f800000 and above: not finite).
fn bits_peak4(bits: vec4<u32>) -> u32 {
    let b = bits & vec4<u32>(0x7fffffffu);
    return max(max(b.x, b.y), max(b.z, b.w));
}

/// Four elements as i32 in units of `1 / scale`, ties to even. Exact down to 2^-7 of the row's peak.
fn bits_fixed4(bits: vec4<u32>, scale: f32) -> vec4<i32> {
    return vec4<i32>(round(bitcast<vec4<f32>>(bits) * scale));
}

fn bits_float4(bits: vec4<u32>, scale: f32) -> vec4<f32> {
    return bitcast<vec4<f32>>(bits) * scale;
}

#import "common/row_reads.wgsl"
