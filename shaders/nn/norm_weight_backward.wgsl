// Gradient of a normalisation by its weight: the column sums of dy n, n = (x - mean) r with the row's scalars (mean, r, ..).

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
#import "operand2"
#import "operand3"
@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>;

fn term(row: u32, column: u32) -> vec4<f32> {
    let s = read3(row);
    let at = row * params.width4 + column;
    return read2(at) * (read1(at) - s.x) * s.y;
}

#import "columns"
