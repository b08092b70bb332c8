// Negative log-likelihood of each row's label from its state: 0 where the label is ignored, infinite where no chunk had it; NaN where a logit was.

struct Params {
    count: u32,
    // A runtime value: WGSL has no literal for it.
    infinity: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> state: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> labels: array<i32>;
@group(0) @binding(3) var<storage, read_write> nll: array<f32>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let s = state[at];
    let value = select(params.infinity, keep_nan(log(s.y) + (s.x - s.z), s.x), s.w == 1.0);
    let ignored = labels[at] == -100;
    if (index < params.count) { nll[index] = select(value, 0.0, ignored); }
}

#import "common/nan.wgsl"
#import "common/elements.wgsl"
