// Gradients of attention by keys and values, for GPUs: 32 keys of one head to a workgroup, which goes over all queries that see them,
// 32 at a time and in a fixed order: dv = sum_i p_i dout_i, dk = scale sum_i p_i (dout_i . v - dout_i . out_i) q_i.

#import "nn/attention_tiles.wgsl"
#import "nn/attention_vectors.wgsl" 1
#import "nn/attention_vectors.wgsl" 2
#import "nn/attention_vectors.wgsl" 3
#import "nn/attention_vectors.wgsl" 4
#import "nn/attention_stat.wgsl"
@group(0) @binding(6) var<storage, read> blocks: array<Keys>;
#import "nn/attention_tile_result.wgsl" 7
#import "nn/attention_tile_result.wgsl" 8

fn fetch(operand: u32, first: u32, c: u32) -> vec4<f32> {
    switch operand {
        case 1u: { return vector1(first, c); }
        case 2u: { return vector2(first, c); }
        case 3u: { return vector3(first, c); }
        default: { return vector4(first, c); }
    }
}

// Of one query and four keys: probabilities, 0 where the query does not see the key.
fn weigh(scores: vec4<f32>, sum: f32, sees: vec4<bool>) -> vec4<f32> {
    return select(vec4<f32>(0.0), probability(params.scale * scores - sum), sees);
}

// Which of four keys a query sees, by the queries whose own they are: none, if it is beyond the last.
fn sees(query: u32, queries: u32, own: vec4<u32>) -> vec4<bool> {
    return select(vec4<bool>(false), in_window(vec4<u32>(query) - own), query < queries);
}

#import "common/grid.wgsl"

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let unit = params.first + grid.first + group.y * groups.x + group.x;
    if (unit >= params.count) { return; }
    let index = unit / parts();
    let start = (unit % parts()) * part4();
    let at = local.xy;
    let key_heads = params.heads / params.shared_by;
    let head = index % key_heads;
    let block = blocks[index / key_heads];
    let key = block.row * params.key_stride + head_place(head);
    let keys = Rows(2u, key, params.key_stride, block.rows);
    let values = Rows(3u, key, params.key_stride, block.rows);
    let own = vec4<u32>(bitcast<u32>(block.lower)) + every_eighth(at.y);
    let end = end_of_queries(block);
    var key_gradient: Sums;
    var value_gradient: Sums;
    for (var shared_head = 0u; shared_head < params.shared_by; shared_head += 1u) {
        let query_head = head * params.shared_by + shared_head;
        for (var i = first_query(block); i < end; i += TILE) {
            let first = (block.first_query + i) * params.query_stride + head_place(query_head);
            let count = min(TILE, end - i);
            let queries = Rows(1u, first, params.query_stride, count);
            let outs = Rows(4u, first, params.query_stride, count);
            let columns = every_eighth(i + at.x);
            let rows = vec4<u32>(block.first_query) + min(columns, vec4<u32>(end - 1u));
            let s0 = stat(rows.x, query_head);
            let s1 = stat(rows.y, query_head);
            let s2 = stat(rows.z, query_head);
            let s3 = stat(rows.w, query_head);
            let s = product(keys, queries, at);
            let p = mat4x4<f32>(
                weigh(s[0], s0.x, sees(columns.x, end, own)),
                weigh(s[1], s1.x, sees(columns.y, end, own)),
                weigh(s[2], s2.x, sees(columns.z, end, own)),
                weigh(s[3], s3.x, sees(columns.w, end, own)),
            );
            put_weights(p, at);
            accumulate(&value_gradient, outs, start, at);
            let d = product(values, outs, at);
            // The product's barriers have let everyone read the weights.
            put_weights(mat4x4<f32>(
                p[0] * (d[0] - vec4<f32>(s0.y)),
                p[1] * (d[1] - vec4<f32>(s1.y)),
                p[2] * (d[2] - vec4<f32>(s2.y)),
                p[3] * (d[3] - vec4<f32>(s3.y)),
            ), at);
            accumulate(&key_gradient, queries, start, at);
        }
    }
    store7(keys, start + at.x, params.scale * key_gradient[0], at);
    if (part4() > 8u) { store7(keys, start + at.x + 8u, params.scale * key_gradient[1], at); }
    if (part4() > 16u) { store7(keys, start + at.x + 16u, params.scale * key_gradient[2], at); }
    if (part4() > 24u) { store7(keys, start + at.x + 24u, params.scale * key_gradient[3], at); }
    store8(keys, start + at.x, value_gradient[0], at);
    if (part4() > 8u) { store8(keys, start + at.x + 8u, value_gradient[1], at); }
    if (part4() > 16u) { store8(keys, start + at.x + 16u, value_gradient[2], at); }
    if (part4() > 24u) { store8(keys, start + at.x + 24u, value_gradient[3], at); }
}
