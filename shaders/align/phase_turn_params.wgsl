// What the two passes of bounded turns share: the block, and the bounded function.

struct Params {
    // Planes of all rows.
    count: u32,
    // Of a row.
    planes: u32,
    // Vectors of a row of coordinates and steps, and of features.
    width4: u32,
    features4: u32,
    // How far phases turn at most, and logarithms of lengths grow.
    alpha_theta: f32,
    alpha_rho: f32,
    // What the gradient of differences of phases is multiplied by.
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

/// tanh, 0 of 0 to the bit, a NaN of one: WGSL promises little of its own.
fn bounded(x: vec2<f32>) -> vec2<f32> {
    let z = x * x;
    let near = x * (1.0 - z * (0.33333334 - z * (0.13333334 - z * 0.05396825)));
    let decay = exp(-2.0 * abs(x));
    let value = select(sign(x) * ((1.0 - decay) / (1.0 + decay)), near, z < vec2<f32>(0.01));
    return vec2<f32>(keep_nan(value.x, x.x), keep_nan(value.y, x.y));
}

#import "common/nan.wgsl"
