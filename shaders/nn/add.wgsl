// y += x, where x starts again after `period` entries: a matrix, or one row to all rows.

struct Params {
    count: u32,
    period: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let value = y[at] + x[at % params.period];
    if (index < params.count) { y[index] = value; }
}

#import "common/elements.wgsl"
