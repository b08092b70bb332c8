// GELU, element by element.

struct Params {
    count: u32,
    // As FORM; the host twin reads it here.
    form: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

#import "nn/gelu_forms.wgsl"

fn element(index: u32) {
    let value = gelu(x[min(index, params.count - 1u)]);
    if (index < params.count) { y[index] = value; }
}

#import "common/elements.wgsl"
