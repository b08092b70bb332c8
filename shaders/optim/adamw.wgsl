// One step of AdamW (decoupled decay, bias correction), with the gradient times a factor from clipping. A factor of 0 says that
// the gradient is not finite: then nothing changes.

struct Params {
    count: u32,
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

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4<f32>>;
#import "parameters"
@group(0) @binding(4) var<storage, read_write> first: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> second: array<vec4<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let factor = scale[0];
    let g = factor * gradient[at];
    let m = params.beta1 * first[at] + params.rest1 * g;
    let v = params.beta2 * second[at] + params.rest2 * (g * g);
    let p = params.keep * parameters4(at) - params.rate * m / (sqrt(v) * params.correction + params.eps);
    if (index < params.count && factor != 0.0) {
        store_parameters4(index, p);
        first[index] = m;
        second[index] = v;
    }
}

#import "common/elements.wgsl"
