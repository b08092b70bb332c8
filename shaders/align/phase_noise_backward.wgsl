// Of the gradient of turned phases: that of the drift's parts, and in place that of the phases before, but for what goes through the parts. An
// invocation has a plane of a row.

#import "align/phase_noise_params.wgsl"

@group(0) @binding(1) var<storage, read> turned: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> features: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> drift: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> gradient: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> of_drift: array<vec2<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.planes;
    let plane = at % params.planes;
    let place = 2u * row * params.features4 + plane;
    let part = 2u * row * params.drift4 + plane;
    let after = turned[place];
    let phase = features[place];
    let parts = drift[part];
    let along = after.x * gradient[place].y - after.y * gradient[place].x;
    let slope = 1.0 - params.tau * (parts.x * phase.x + parts.y * phase.y);
    if (index < params.count) {
        of_drift[part] = params.tau * along * vec2<f32>(-phase.y, phase.x);
        gradient[place] = slope * along * vec2<f32>(-phase.y, phase.x);
    }
}

#import "common/elements.wgsl"
