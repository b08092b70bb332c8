// Gradients of attention by keys and values, for GPUs: 32 keys of one head to a workgroup, which goes over all queries that see them,
// 32 at a time and in a fixed order: dv = sum_i p_i dout_i, dk = scale sum_i p_i (dout_i . v - dout_i . out_i) q_i.

#import "nn/attention_tiles.wgsl"
#import "operand" 1
#import "operand" 2
#import "operand" 3
#import "operand" 4
#import "nn/attention_stat.wgsl"
@group(0) @binding(6) var<storage, read> blocks: array<Keys>;
#import "result" 7
#import "result" 8

fn fetch(operand: u32, index: u32) -> vec4<f32> {
    switch operand {
        case 1u: { return read1(index); }
        case 2u: { return read2(index); }
        case 3u: { return read3(index); }
        default: { return read4(index); }
    }
}

// Of one query and four keys: probabilities, 0 where the query does not see the key.
fn weigh(scores: vec4<f32>, sum: f32, sees: vec4<bool>) -> vec4<f32> {
    return select(vec4<f32>(0.0), probability(params.scale * scores - sum), sees);
}

// Which of four keys a query sees: none, if it is beyond the last.
fn sees(query: u32, queries: u32, lower: vec4<i32>) -> vec4<bool> {
    return select(vec4<bool>(false), vec4<i32>(i32(query)) >= lower, query < queries);
}

fn store_dk(rows: Rows, c: u32, values: mat4x4<f32>, at: vec2<u32>) {
    if (c >= WIDTH4) { return; }
    let first = rows.first + at.y * rows.stride + c;
    if (at.y < rows.count) { write7(first, values[0]); }
    if (at.y + 8u < rows.count) { write7(first + 8u * rows.stride, values[1]); }
    if (at.y + 16u < rows.count) { write7(first + 16u * rows.stride, values[2]); }
    if (at.y + 24u < rows.count) { write7(first + 24u * rows.stride, values[3]); }
}

fn store_dv(rows: Rows, c: u32, values: mat4x4<f32>, at: vec2<u32>) {
    if (c >= WIDTH4) { return; }
    let first = rows.first + at.y * rows.stride + c;
    if (at.y < rows.count) { write8(first, values[0]); }
    if (at.y + 8u < rows.count) { write8(first + 8u * rows.stride, values[1]); }
    if (at.y + 16u < rows.count) { write8(first + 16u * rows.stride, values[2]); }
    if (at.y + 24u < rows.count) { write8(first + 24u * rows.stride, values[3]); }
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
    let key_heads = params.heads / params.shared_by;
    let head = index % key_heads;
    let block = blocks[index / key_heads];
    let key = block.row * params.key4 + head * WIDTH4;
    let keys = Rows(2u, key, params.key4, block.rows);
    let values = Rows(3u, key, params.key4, block.rows);
    let lower = vec4<i32>(block.lower) + vec4<i32>(every_eighth(at.y));
    var key_gradient: Sums;
    var value_gradient: Sums;
    for (var shared_head = 0u; shared_head < params.shared_by; shared_head += 1u) {
        let query_head = head * params.shared_by + shared_head;
        for (var i = u32(max(block.lower, 0)); i < block.queries; i += TILE) {
            let first = (block.first_query + i) * params.query4 + query_head * WIDTH4;
            let count = min(TILE, block.queries - i);
            let queries = Rows(1u, first, params.query4, count);
            let outs = Rows(4u, first, params.query4, count);
            let columns = every_eighth(i + at.x);
            let rows = vec4<u32>(block.first_query) + min(columns, vec4<u32>(block.queries - 1u));
            let s0 = stat(rows.x, query_head);
            let s1 = stat(rows.y, query_head);
            let s2 = stat(rows.z, query_head);
            let s3 = stat(rows.w, query_head);
            let s = product(keys, queries, at);
            let p = mat4x4<f32>(
                weigh(s[0], s0.x, sees(columns.x, block.queries, lower)),
                weigh(s[1], s1.x, sees(columns.y, block.queries, lower)),
                weigh(s[2], s2.x, sees(columns.z, block.queries, lower)),
                weigh(s[3], s3.x, sees(columns.w, block.queries, lower)),
            );
            put_weights(p, at);
            accumulate(&value_gradient, outs, at);
            let d = product(values, outs, at);
            // The product's barriers have let everyone read the weights.
            put_weights(mat4x4<f32>(
                p[0] * (d[0] - vec4<f32>(s0.y)),
                p[1] * (d[1] - vec4<f32>(s1.y)),
                p[2] * (d[2] - vec4<f32>(s2.y)),
                p[3] * (d[3] - vec4<f32>(s3.y)),
            ), at);
            accumulate(&key_gradient, queries, at);
        }
    }
    store_dk(keys, at.x, params.scale * key_gradient[0], at);
    if (WIDTH4 > 8u) { store_dk(keys, at.x + 8u, params.scale * key_gradient[1], at); }
    if (WIDTH4 > 16u) { store_dk(keys, at.x + 16u, params.scale * key_gradient[2], at); }
    if (WIDTH4 > 24u) { store_dk(keys, at.x + 24u, params.scale * key_gradient[3], at); }
    store_dv(keys, at.x, value_gradient[0], at);
    if (WIDTH4 > 8u) { store_dv(keys, at.x + 8u, value_gradient[1], at); }
    if (WIDTH4 > 16u) { store_dv(keys, at.x + 16u, value_gradient[2], at); }
    if (WIDTH4 > 24u) { store_dv(keys, at.x + 24u, value_gradient[3], at); }
}
