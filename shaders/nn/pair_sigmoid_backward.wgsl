// Similarities to the sigmoid loss's gradient in place: scale exp(t) times the derivative by z.

struct Params {
    count: u32,
    width: u32,
    width4: u32,
    most: f32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> temperature: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> similarities: array<vec4<f32>>;

#import "nn/pair_slope.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.width4;
    let place = vec4<u32>(4u * (at % params.width4)) + vec4<u32>(0u, 1u, 2u, 3u);
    let factor = keep_nan(exp(min(temperature[0].x, params.most)), temperature[0].x);
    let sign = sign_of(place, row);
    let v = sign * (factor * similarities[at] + temperature[0].y);
    let value = params.scale * factor * slope_of(v, sign);
    if (index < params.count) { similarities[index] = select(vec4<f32>(0.0), value, place < vec4<u32>(params.width)); }
}

#import "common/elements.wgsl"
