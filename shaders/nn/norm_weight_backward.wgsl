// Gradient of a normalisation by its weight: the column sums of dy n, n = (x - mean) r with the row's scalars (mean, r, ..).

#import "common/column_params.wgsl"
#import "operand" 1
#import "operand" 2
#import "operand" 3
@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>;

fn term(row: u32, column: u32) -> vec4<f32> {
    let s = read3(row);
    let at = row * params.width4 + column;
    return read2(at) * (read1(at) - s.x) * s.y;
}

#import "columns"
