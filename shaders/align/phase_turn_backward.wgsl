// The gradient of bounded turns' steps: of the turned points' features, and of differences of neighbours' phases. An invocation has a plane of a row.

#import "align/phase_turn_params.wgsl"

@group(0) @binding(1) var<storage, read> steps: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> features: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> gradient: array<f32>;
// Lengths as points, turned from the first axis, and their sums over each plane's neighbours.
@group(0) @binding(4) var<storage, read> lengths: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> neighbours: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> out: array<vec2<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.planes;
    let plane = at % params.planes;
    let place = 2u * row * params.width4 + plane;
    let first = 4u * row * params.features4;
    let phase = features[2u * row * params.features4 + plane];
    let along = phase.x * gradient[first + 2u * plane + 1u] - phase.y * gradient[first + 2u * plane];
    let differences = lengths[place].y * neighbours[place].x - lengths[place].x * neighbours[place].y;
    let step = bounded(steps[place]);
    let slope = vec2<f32>(params.alpha_theta, params.alpha_rho) * (1.0 - step * step);
    let by = vec2<f32>(along + params.weight * differences, gradient[first + 2u * params.planes + plane]);
    if (index < params.count) { out[place] = slope * by; }
}

#import "common/elements.wgsl"
