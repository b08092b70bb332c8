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
    let query = block.x * params.query_stride + head_place(head);
    let key = block.z * params.key_stride + head_place(head / params.shared_by);
    let beyond = min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(held - 1u));
    // The queries' own keys.
    let own = vec4<u32>(block.w - 1u) + params.causal * beyond;
    let rows = vec4<u32>(block.x) + beyond;
    let s0 = stat(rows.x, head);
    let s1 = stat(rows.y, head);
    let s2 = stat(rows.z, head);
    let s3 = stat(rows.w, head);
    let lse = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
    let delta = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
    var queries: Rows4;
    load1(&queries, held, query, params.query_stride, 0u);
    var outs: Rows4;
    load4(&outs, held, query, params.query_stride, 0u);
    var more_queries: Rows4;
    var more_outs: Rows4;
    if (WIDTH4 > REST) {
        load1(&more_queries, held, query, params.query_stride, REST);
        load4(&more_outs, held, query, params.query_stride, REST);
    }
    var gradient: Rows4;
    var more_gradient: Rows4;
    for (var j = first_seen(block.w); j <= own.w; j += 1u) {
        let place = key + j * params.key_stride;
        var scores = dots2(&queries, place, 0u);
        var slopes = dots3(&outs, place, 0u);
        if (WIDTH4 > REST) {
            scores += dots2(&more_queries, place, REST);
            slopes += dots3(&more_outs, place, REST);
        }
        let p = probability(params.scale * scores - lse);
        let d = select(vec4<f32>(0.0), p * (slopes - delta), in_window(own - vec4<u32>(j)));
        add2(&gradient, d, place, 0u);
        if (WIDTH4 > REST) { add2(&more_gradient, d, place, REST); }
    }
    if (params.first + index < params.count) {
        let factors = vec4<f32>(params.scale);
        store_rows7(&gradient, held, query, params.query_stride, factors, 0u);
        if (WIDTH4 > REST) { store_rows7(&more_gradient, held, query, params.query_stride, factors, REST); }
    }
}

#import "common/elements.wgsl"
