// Gradient of attention by the queries: with p the probabilities again, dq = scale sum_j p (dout . v_j - dout . out) k_j. Shape as the
// forward's.

#import "nn/attention_rows.wgsl"
#import "nn/attention_operand.wgsl" 1
#import "nn/attention_operand.wgsl" 2
#import "nn/attention_operand.wgsl" 3
#import "nn/attention_operand.wgsl" 4
#import "nn/attention_stat.wgsl"
// As the forward's.
@group(0) @binding(6) var<storage, read> blocks: array<vec4<u32>>;
#import "nn/attention_result.wgsl" 7

fn element(index: u32) {
    let at = min(params.first + index, params.count - 1u);
    let head = at % params.heads;
    let block = blocks[at / params.heads];
    let held = block.y;
    let query = block.x * params.query4 + head * WIDTH4;
    let key = block.z * params.key4 + (head / params.shared_by) * WIDTH4;
    let beyond = min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(held - 1u));
    let seen = vec4<u32>(block.w) + beyond;
    let rows = vec4<u32>(block.x) + beyond;
    let s0 = stat(rows.x, head);
    let s1 = stat(rows.y, head);
    let s2 = stat(rows.z, head);
    let s3 = stat(rows.w, head);
    let lse = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
    let delta = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
    var queries: Rows4;
    load1(&queries, held, query, params.query4);
    var outs: Rows4;
    load4(&outs, held, query, params.query4);
    var gradient: Rows4;
    for (var j = 0u; j < seen.w; j += 1u) {
        let place = key + j * params.key4;
        let p = probability(params.scale * dots2(&queries, place) - lse);
        let d = select(vec4<f32>(0.0), p * (dots3(&outs, place) - delta), vec4<u32>(j) < seen);
        add2(&gradient, d, place);
    }
    if (params.first + index < params.count) {
        store_rows7(&gradient, held, query, params.query4, vec4<f32>(params.scale));
    }
}

#import "common/elements.wgsl"
