// y = (x - mean(x)) weight / sqrt(var(x) + eps) + bias, row by row. The padding of weight and bias is zero, so y's is.

const CENTER: bool = true;

#import "operand" 3
#import "result" 4

fn shift4(column: u32) -> vec4<f32> {
    return read3(column);
}

fn store(index: u32, value: vec4<f32>) {
    write4(index, value);
}

#import "nn/norm_rows.wgsl"
