// z = x + factor y.

struct Params {
    count: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> z: array<vec4<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let value = x[at] + params.factor * y[at];
    if (index < params.count) { z[index] = value; }
}

#import "common/elements.wgsl"
