// What the gradients of attention need of each row and head: its log-sum-exp, and dout . out.

struct Params {
    // Rows times heads.
    count: u32,
    heads: u32,
    width4: u32,
    query4: u32,
    lse_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "operand" 1
#import "operand" 2
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let head = at % params.heads;
    let row = at / params.heads;
    let first = row * params.query4 + head * params.width4;
    let value = lse[row * params.lse_stride + head];
    var sums = vec4<f32>(0.0);
    for (var c = 0u; c < params.width4; c += 1u) { sums += read1(first + c) * read2(first + c); }
    if (index < params.count) { stats[index] = vec2<f32>(value, (sums.x + sums.y) + (sums.z + sums.w)); }
}

#import "common/elements.wgsl"
