// Gradient of the SiLU-gated unit: with s = sigmoid(gate), dup = dy gate s, dgate = dy up s (1 + gate (1 - s)).

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dgate: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dup: array<vec4<f32>>;

#import "nn/sigmoid.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let g = gate[at];
    let s = sigmoid(g);
    let d = dy[at] * s;
    let to_gate = d * up[at] * (1.0 + g * (1.0 - s));
    if (index < params.count) {
        dgate[index] = to_gate;
        dup[index] = d * g;
    }
}

#import "common/elements.wgsl"
