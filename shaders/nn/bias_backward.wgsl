// Gradient of a bias: the column sums of dy.

#import "common/column_params.wgsl"
#import "operand" 1
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>;

fn term(row: u32, column: u32) -> vec4<f32> {
    return read1(row * params.width4 + column);
}

#import "columns"
