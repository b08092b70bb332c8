// Logits to their gradient in place: scale (softmax - label), 0 for ignored rows.

struct Params {
    count: u32,
    width: u32,
    width4: u32,
    first: u32,
    scale: f32,
    // Place of the first row among the labels and states.
    first_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read> state: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> logits: array<vec4<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.width4;
    let columns = vec4<u32>(4u * (at % params.width4)) + vec4<u32>(0u, 1u, 2u, 3u);
    let s = state[params.first_row + row];
    let label = labels[params.first_row + row];
    let share = keep_nan4(exp(logits[at] - s.x) / s.y, vec4<f32>(s.x));
    let hit = columns + params.first == vec4<u32>(bitcast<u32>(label));
    let value = params.scale * (share - select(vec4<f32>(0.0), vec4<f32>(1.0), hit));
    let counts = vec4<bool>(label != -100) & (columns < vec4<u32>(params.width));
    if (index < params.count) { logits[index] = select(vec4<f32>(0.0), value, counts); }
}

#import "common/nan.wgsl"
#import "common/elements.wgsl"
