// Gradient of a bias: the column sums of dy.

struct Params {
    // Rows of this dispatch: from `first` to before `end`.
    first: u32,
    end: u32,
    width4: u32,
    accumulate: u32,
    // Rows of a slice; each has a row of sums.
    slice: u32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
#import "operand1"
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>;

fn term(row: u32, column: u32) -> vec4<f32> {
    return read1(row * params.width4 + column);
}

#import "columns"
