// What the gradients of attention need of each row and head: its log-sum-exp, and dout . out.

#import "nn/attention_params.wgsl"
#import "nn/attention_vectors.wgsl" 1
#import "nn/attention_vectors.wgsl" 2
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let head = at % params.heads;
    let row = at / params.heads;
    let first = row * params.query_stride + head_place(head);
    let value = lse[row * params.lse_stride + head];
    var sums = vec4<f32>(0.0);
    // By a number that compilers do not know: what they would unroll takes more registers than it gains.
    for (var c = 0u; 4u * c < params.width; c += 1u) { sums += vector1(first, c) * vector2(first, c); }
    if (index < params.count) { stats[index] = vec2<f32>(value, (sums.x + sums.y) + (sums.z + sums.w)); }
}

#import "common/elements.wgsl"
