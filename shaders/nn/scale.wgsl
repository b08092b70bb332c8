// y *= factor.

struct Params {
    count: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

fn element(index: u32) {
    let value = params.factor * y[min(index, params.count - 1u)];
    if (index < params.count) { y[index] = value; }
}

#import "common/elements.wgsl"
