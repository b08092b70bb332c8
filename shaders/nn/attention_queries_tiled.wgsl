// Gradient of attention by the queries, for GPUs: 32 queries of one head to a workgroup, 32 keys at a time. With p the probabilities
// again, dq = scale sum_j p (dout . v_j - dout . out) k_j.

#import "nn/attention_tiles.wgsl"
#import "operand" 1
#import "operand" 2
#import "operand" 3
#import "operand" 4
#import "nn/attention_stat.wgsl"
// As the forward's.
@group(0) @binding(6) var<storage, read> blocks: array<vec4<u32>>;
#import "result" 7

fn fetch(operand: u32, index: u32) -> vec4<f32> {
    switch operand {
        case 1u: { return read1(index); }
        case 2u: { return read2(index); }
        case 3u: { return read3(index); }
        default: { return read4(index); }
    }
}

// Of one key and four queries: probabilities, 0 where the query does not see the key.
fn weigh(scores: vec4<f32>, sums: vec4<f32>, key: u32, seen: vec4<u32>) -> vec4<f32> {
    let p = probability(params.scale * scores - sums);
    return select(vec4<f32>(0.0), p, vec4<u32>(key) < seen);
}

fn store_dq(rows: Rows, c: u32, values: mat4x4<f32>, at: vec2<u32>) {
    if (c >= WIDTH4) { return; }
    let first = rows.first + at.y * rows.stride + c;
    if (at.y < rows.count) { write7(first, values[0]); }
    if (at.y + 8u < rows.count) { write7(first + 8u * rows.stride, values[1]); }
    if (at.y + 16u < rows.count) { write7(first + 16u * rows.stride, values[2]); }
    if (at.y + 24u < rows.count) { write7(first + 24u * rows.stride, values[3]); }
}

#import "common/grid.wgsl"

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let index = params.first + grid.first + group.y * groups.x + group.x;
    if (index >= params.count) { return; }
    let at = local.xy;
    let head = index % params.heads;
    let block = blocks[index / params.heads];
    let query = block.x * params.query4 + head * WIDTH4;
    let queries = Rows(1u, query, params.query4, block.y);
    let outs = Rows(4u, query, params.query4, block.y);
    let key = block.z * params.key4 + (head / params.shared_by) * WIDTH4;
    let last = block.w + block.y - 1u;
    let rows = min(every_eighth(at.y), vec4<u32>(block.y - 1u));
    let seen = vec4<u32>(block.w) + rows;
    let s0 = stat(block.x + rows.x, head);
    let s1 = stat(block.x + rows.y, head);
    let s2 = stat(block.x + rows.z, head);
    let s3 = stat(block.x + rows.w, head);
    let sums = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
    let delta = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
    var gradient: Sums;
    for (var j = 0u; j < last; j += TILE) {
        let first = key + j * params.key4;
        let count = min(TILE, last - j);
        let s = product(queries, Rows(2u, first, params.key4, count), at);
        let d = product(outs, Rows(3u, first, params.key4, count), at);
        let keys = every_eighth(j + at.x);
        put_weights(mat4x4<f32>(
            weigh(s[0], sums, keys.x, seen) * (d[0] - delta),
            weigh(s[1], sums, keys.y, seen) * (d[1] - delta),
            weigh(s[2], sums, keys.z, seen) * (d[2] - delta),
            weigh(s[3], sums, keys.w, seen) * (d[3] - delta),
        ), at);
        accumulate(&gradient, Rows(2u, first, params.key4, count), at);
    }
    store_dq(queries, at.x, params.scale * gradient[0], at);
    if (WIDTH4 > 8u) { store_dq(queries, at.x + 8u, params.scale * gradient[1], at); }
    if (WIDTH4 > 16u) { store_dq(queries, at.x + 16u, params.scale * gradient[2], at); }
    if (WIDTH4 > 24u) { store_dq(queries, at.x + 24u, params.scale * gradient[3], at); }
}
