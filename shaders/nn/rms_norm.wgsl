// y = x weight / sqrt(mean(x^2) + eps), row by row.

const CENTER: bool = false;

#import "result" 3

fn shift4(column: u32) -> vec4<f32> {
    return vec4<f32>(0.0);
}

fn store(index: u32, value: vec4<f32>) {
    write3(index, value);
}

#import "nn/norm_rows.wgsl"
