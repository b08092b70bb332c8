// Sums over rows of w (z, z^2, z^3, z^4), for each column of z: a vector of four sums to a column, so that `width4` counts columns.

#import "common/column_params.wgsl"
// z.
#import "operand" 1
// The weights, four to an entry.
#import "operand" 2
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>;

fn term(row: u32, column: u32) -> vec4<f32> {
    let four = read1(row * ((params.width4 + 3u) / 4u) + column / 4u);
    let z = four[column % 4u];
    let square = z * z;
    return read2(row / 4u)[row % 4u] * vec4<f32>(z, square, square * z, square * square);
}

#import "columns"
