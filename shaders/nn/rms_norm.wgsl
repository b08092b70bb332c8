// y = x weight / sqrt(mean(x^2) + eps), row by row.

const CENTER: bool = false;

@group(0) @binding(3) var<storage, read_write> out_rows: array<vec4<f32>>;

fn shift4(column: u32) -> vec4<f32> {
    return vec4<f32>(0.0);
}

#import "nn/norm_rows.wgsl"
