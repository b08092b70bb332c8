// Points turned and stretched within bounds. An invocation has a plane of a row.

#import "align/phase_turn_params.wgsl"

// [Δθ, Δρ] of each plane.
@group(0) @binding(1) var<storage, read> steps: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> coordinates: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec2<f32>>;

#import "align/circle.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let place = 2u * (at / params.planes) * params.width4 + at % params.planes;
    let step = vec2<f32>(params.alpha_theta, params.alpha_rho) * bounded(steps[place]);
    let turn = circle(step.x);
    // A driver's exp(0) may not be 1, and without a step nothing may move.
    let factor = select(keep_nan(exp(step.y), step.y), 1.0, step.y == 0.0);
    let point = coordinates[place];
    let value = factor * vec2<f32>(point.x * turn.x - point.y * turn.y, point.y * turn.x + point.x * turn.y);
    if (index < params.count) { out[place] = value; }
}

#import "common/elements.wgsl"
