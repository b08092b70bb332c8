// Phases turned by noise and against their drift, in place, and the negated score of a wrapped Gaussian there, times its deviation. An invocation has a
// plane of a row.

#import "align/phase_noise_params.wgsl"

// p and q of each plane: the drift is p sin - q cos.
@group(0) @binding(1) var<storage, read> drift: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> noise: array<f32>;
// The deviation of each row's noise.
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read_write> features: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> score: array<f32>;

#import "align/circle.wgsl"

const TAU: f32 = 6.2831853;

/// `-s ∇ ln WN(δ; 0, s²)`, by the turns from -3 to 3.
fn negated_score(delta: f32, scale: f32) -> f32 {
    let near = delta - TAU * round(delta / TAU);
    var sum = 0.0;
    var weights = 0.0;
    for (var n = -3; n < 4; n += 1) {
        let turn = TAU * f32(n);
        // The density's share relative to that of no turn, which is the largest.
        let weight = exp(-turn * (near + 0.5 * turn) / (scale * scale));
        sum += weight * (near + turn);
        weights += weight;
    }
    return sum / (weights * scale);
}

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.planes;
    let plane = at % params.planes;
    let place = 2u * row * params.features4 + plane;
    let phase = features[place];
    let parts = drift[2u * row * params.drift4 + plane];
    let moved = scales[row] * noise[4u * row * params.noise4 + plane];
    let turn = circle(moved - params.tau * (parts.x * phase.y - parts.y * phase.x));
    let value = negated_score(moved, scales[row]);
    if (index < params.count) {
        features[place] = vec2<f32>(phase.x * turn.x - phase.y * turn.y, phase.y * turn.x + phase.x * turn.y);
        score[4u * row * params.noise4 + plane] = value;
    }
}

#import "common/elements.wgsl"
