// Gradient of attention by the queries, on tensor cores: 32 queries of one head to a workgroup, 32 keys at a time. With p the probabilities again,
// dq = scale sum_j p (dout . v_j - dout . out) k_j.

#import "cores"

const TILES: u32 = 4u;
const WEIGHT_TILES: u32 = 1u;
const SCORE_TILES: u32 = 2u;
const QUERIES: u32 = 0u;
const OUTS: u32 = 1u;
const KEYS: u32 = 2u;
const VALUES: u32 = 3u;

#import "nn/attention_fragments.wgsl"
#import "common/eights.wgsl" 1
#import "common/eights.wgsl" 2
#import "common/eights.wgsl" 3
#import "common/eights.wgsl" 4
#import "nn/attention_stat.wgsl"
// As the forward's.
@group(0) @binding(6) var<storage, read> blocks: array<vec4<u32>>;
#import "result" 7

#import "common/grid.wgsl"

fn fetch(operand: u32, index: u32) -> Eight {
    switch operand {
        case 1u: { return operand1[index]; }
        case 2u: { return operand2[index]; }
        case 3u: { return operand3[index]; }
        default: { return operand4[index]; }
    }
}

fn write(result: u32, index: u32, row: u32, value: vec4<f32>) {
    write7(index, params.scale * value);
}

// Probabilities, 0 where the query does not see the key.
fn weigh(scores: vec4<f32>, sum: f32, seen: vec4<bool>) -> vec4<f32> {
    return select(vec4<f32>(0.0), probability(params.scale * scores - sum), seen);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let unit = params.first + grid.first + group.y * groups.x + group.x;
    if (unit >= params.count) { return; }
    let place = place_of(index, subgroup, lane);
    let head = unit % params.heads;
    let block = blocks[unit / params.heads];
    let query = (block.x * params.query_stride + head_place(head)) / 2u;
    let queries = Rows(1u, query, params.query_stride / 2u, block.y);
    let key = (block.z * params.key_stride + head_place(head / params.shared_by)) / 2u;
    let last = block.w + params.causal * (block.y - 1u);
    let row = min(index / 4u, block.y - 1u);
    // The query's own key, and the first that one of the queries sees.
    let own = block.w - 1u + params.causal * row;
    let begin = first_seen(block.w);
    let sum_and_delta = stat(block.x + row, head);
    let stride = params.key_stride / 2u;
    keep_tile(QUERIES, bring(queries, index), index);
    keep_tile(OUTS, bring(Rows(4u, query, params.query_stride / 2u, block.y), index), index);
    var keys = bring(Rows(2u, key + begin * stride, stride, min(TILE, last - begin)), index);
    var values = bring(Rows(3u, key + begin * stride, stride, min(TILE, last - begin)), index);
    var sums0: Sums;
    var sums1: Sums;
    var sums2: Sums;
    var sums3: Sums;
    for (var j = begin; j < last; j += TILE) {
        keep_tile(KEYS, keys, index);
        keep_tile(VALUES, values, index);
        workgroupBarrier();
        let after = min(j + TILE, last);
        keys = bring(Rows(2u, key + after * stride, stride, min(TILE, last - after)), index);
        values = bring(Rows(3u, key + after * stride, stride, min(TILE, last - after)), index);
        put_dots(QUERIES, KEYS, 0u, place);
        put_dots(OUTS, VALUES, 1u, place);
        workgroupBarrier();
        let s = pair_of(0u, index);
        let d = pair_of(1u, index);
        let before = own - j - low_columns(index);
        put_pair(0u, Pair(
            weigh(s.low, sum_and_delta.x, in_window(before)) * (d.low - sum_and_delta.y),
            weigh(s.high, sum_and_delta.x, in_window(before - 4u)) * (d.high - sum_and_delta.y),
        ), index);
        workgroupBarrier();
        let w0 = weights_of(0u, 0u, place);
        let w1 = weights_of(0u, 16u, place);
        sums0 = add_rows(w0, w1, KEYS, 0u, sums0, place);
        if (WIDTH4 > 8u) { sums1 = add_rows(w0, w1, KEYS, 1u, sums1, place); }
        if (WIDTH4 > 16u) { sums2 = add_rows(w0, w1, KEYS, 2u, sums2, place); }
        if (WIDTH4 > 24u) { sums3 = add_rows(w0, w1, KEYS, 3u, sums3, place); }
        workgroupBarrier();
    }
    put_result(0u, 0u, sums0, queries, place);
    if (WIDTH4 > 8u) { put_result(0u, 1u, sums1, queries, place); }
    if (WIDTH4 > 16u) { put_result(0u, 2u, sums2, queries, place); }
    if (WIDTH4 > 24u) { put_result(0u, 3u, sums3, queries, place); }
}
