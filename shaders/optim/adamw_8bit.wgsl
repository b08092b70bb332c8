// One step of AdamW as in adamw.wgsl, with moments in 8 bits: a team takes a block of 64 vectors, widens their moments, steps, and
// narrows them again by the block's new largest ones. A factor of 0 says that the gradient is not finite: then nothing changes.

struct Params {
    // Vectors, and blocks of them.
    count: u32,
    blocks: u32,
    // 1 - lr weight_decay.
    keep: f32,
    beta1: f32,
    beta2: f32,
    // 1 - beta1 and 1 - beta2, rounded once.
    rest1: f32,
    rest2: f32,
    // lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t).
    rate: f32,
    correction: f32,
    eps: f32,
    // Of the rounding of parameters in bf16: the run's seed, the step, and the tensor's number.
    key0: u32,
    key1: u32,
    step: u32,
    tensor: u32,
}

override GROUP: u32 = 64u;
override LANES: u32 = 1u;

const BLOCK: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4<f32>>;
#import "parameters"
@group(0) @binding(4) var<storage, read_write> first: array<u32>;
@group(0) @binding(5) var<storage, read_write> second: array<u32>;
// The largest first moment's magnitude and the largest second moment of each block.
@group(0) @binding(6) var<storage, read_write> largest: array<vec2<f32>>;

#import "optim/dynamic.wgsl"

struct Moments {
    m: vec4<f32>,
    v: vec4<f32>,
}

fn moments(at: u32, before: vec2<f32>, factor: f32) -> Moments {
    let g = factor * gradient[at];
    let m = params.beta1 * (before.x * first_values(first[at])) + params.rest1 * g;
    let v = params.beta2 * (before.y * second_values(second[at])) + params.rest2 * (g * g);
    return Moments(m, v);
}

fn most(v: vec4<f32>) -> f32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

/// 1 over a block's largest; 0 where that is as good as zero.
fn inverse(largest: f32) -> f32 {
    return select(0.0, 1.0 / largest, largest >= 1.2e-38);
}

fn run(group: u32, groups: u32, local: u32, team: u32, lane: u32) {
    let teams = GROUP / LANES;
    let factor = scale[0];
    for (var start = group * teams; start < params.blocks; start += groups * teams) {
        let block = min(start + team, params.blocks - 1u);
        let before = largest[block];
        // Bits of numbers from 0 on are in the numbers' order.
        var peak = vec2<f32>(0.0);
        for (var j = lane; j < BLOCK; j += LANES) {
            let after = moments(min(block * BLOCK + j, params.count - 1u), before, factor);
            peak = max(peak, vec2<f32>(most(abs(after.m)), most(after.v)));
        }
        let new_m = bitcast<f32>(team_peak(bitcast<u32>(peak.x), local, team));
        let new_v = bitcast<f32>(team_peak(bitcast<u32>(peak.y), local, team));
        if (start + team < params.blocks && factor != 0.0) {
            for (var j = lane; j < BLOCK; j += LANES) {
                let index = block * BLOCK + j;
                let at = min(index, params.count - 1u);
                let after = moments(at, before, factor);
                let p = params.keep * parameters4(at)
                    - params.rate * after.m / (sqrt(after.v) * params.correction + params.eps);
                if (index < params.count) {
                    store_parameters4(index, p);
                    first[index] = first_bytes(after.m * inverse(new_m));
                    second[index] = second_bytes(after.v * inverse(new_v));
                }
            }
            if (lane == 0u) { largest[block] = vec2<f32>(new_m, new_v); }
        }
    }
}

#import "float_team"
