// Gradient of GELU: dx = dy gelu'(x).

struct Params {
    count: u32,
    // As FORM; the host twin reads it here.
    form: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

#import "nn/gelu_forms.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let value = dy[at] * gelu_slope(x[at]);
    if (index < params.count) { dx[index] = value; }
}

#import "common/elements.wgsl"
