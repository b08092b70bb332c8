// SiLU-gated unit: y = gate sigmoid(gate) up.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

#import "nn/sigmoid.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let g = gate[at];
    let value = g * sigmoid(g) * up[at];
    if (index < params.count) { y[index] = value; }
}

#import "common/elements.wgsl"
