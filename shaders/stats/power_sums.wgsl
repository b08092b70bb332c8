// Sums over rows of w (z, z^2, z^3, z^4), for each column of z: a vector of four sums to a column.

struct Params {
    // Rows of this dispatch: from `first` to before `end`.
    first: u32,
    end: u32,
    // Columns of z.
    width4: u32,
    accumulate: u32,
    // Rows of a slice; each has a row of sums.
    slice: u32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
// z.
#import "operand1"
// The weights, four to an entry.
#import "operand2"
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>;

fn term(row: u32, column: u32) -> vec4<f32> {
    let four = read1(row * ((params.width4 + 3u) / 4u) + column / 4u);
    let z = four[column % 4u];
    let square = z * z;
    return read2(row / 4u)[row % 4u] * vec4<f32>(z, square, square * z, square * square);
}

#import "columns"
