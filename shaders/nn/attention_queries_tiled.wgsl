// Gradient of attention by the queries, for GPUs: 32 queries of one head to a workgroup, 32 keys at a time. With p the probabilities
// again, dq = scale sum_j p (dout . v_j - dout . out) k_j.

#import "nn/attention_tiles.wgsl"
#import "nn/attention_vectors.wgsl" 1
#import "nn/attention_vectors.wgsl" 2
#import "nn/attention_vectors.wgsl" 3
#import "nn/attention_vectors.wgsl" 4
#import "nn/attention_stat.wgsl"
// As the forward's.
@group(0) @binding(6) var<storage, read> blocks: array<vec4<u32>>;
#import "nn/attention_tile_result.wgsl" 7

fn fetch(operand: u32, first: u32, c: u32) -> vec4<f32> {
    switch operand {
        case 1u: { return vector1(first, c); }
        case 2u: { return vector2(first, c); }
        case 3u: { return vector3(first, c); }
        default: { return vector4(first, c); }
    }
}

// Of one key and four queries: probabilities, 0 where the query does not see the key.
fn weigh(scores: vec4<f32>, sums: vec4<f32>, seen: vec4<bool>) -> vec4<f32> {
    let p = probability(params.scale * scores - sums);
    return select(vec4<f32>(0.0), p, seen);
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
    let head = index % params.heads;
    let block = blocks[index / params.heads];
    let query = block.x * params.query_stride + head_place(head);
    let queries = Rows(1u, query, params.query_stride, block.y);
    let outs = Rows(4u, query, params.query_stride, block.y);
    let key = block.z * params.key_stride + head_place(head / params.shared_by);
    let last = block.w + params.causal * (block.y - 1u);
    let rows = min(every_eighth(at.y), vec4<u32>(block.y - 1u));
    // The queries' own keys.
    let own = vec4<u32>(block.w - 1u) + params.causal * rows;
    let s0 = stat(block.x + rows.x, head);
    let s1 = stat(block.x + rows.y, head);
    let s2 = stat(block.x + rows.z, head);
    let s3 = stat(block.x + rows.w, head);
    let sums = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
    let delta = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
    var gradient: Sums;
    for (var j = first_seen(block.w); j < last; j += TILE) {
        let first = key + j * params.key_stride;
        let count = min(TILE, last - j);
        let s = product(queries, Rows(2u, first, params.key_stride, count), at);
        let d = product(outs, Rows(3u, first, params.key_stride, count), at);
        let keys = every_eighth(j + at.x);
        put_weights(mat4x4<f32>(
            weigh(s[0], sums, in_window(own - keys.x)) * (d[0] - delta),
            weigh(s[1], sums, in_window(own - keys.y)) * (d[1] - delta),
            weigh(s[2], sums, in_window(own - keys.z)) * (d[2] - delta),
            weigh(s[3], sums, in_window(own - keys.w)) * (d[3] - delta),
        ), at);
        accumulate(&gradient, Rows(2u, first, params.key_stride, count), start, at);
    }
    store7(queries, start + at.x, params.scale * gradient[0], at);
    if (part4() > 8u) { store7(queries, start + at.x + 8u, params.scale * gradient[1], at); }
    if (part4() > 16u) { store7(queries, start + at.x + 16u, params.scale * gradient[2], at); }
    if (part4() > 24u) { store7(queries, start + at.x + 24u, params.scale * gradient[3], at); }
}
