// Grouped-query attention, causal or not, forward, on tensor cores: 32 queries of one head to a workgroup, 32 keys at a time. Keys are gone over twice: first
// for the largest score of each query, so that the sums that follow stay in fragments, which cannot be scaled row by row.

#import "cores"

const TILES: u32 = 2u;
const WEIGHT_TILES: u32 = 1u;
const SCORE_TILES: u32 = 1u;

#import "nn/attention_fragments.wgsl"
#import "common/eights.wgsl" 1
#import "common/eights.wgsl" 2
#import "common/eights.wgsl" 3
// First query row, rows, first key row, keys that the first query sees.
@group(0) @binding(4) var<storage, read> blocks: array<vec4<u32>>;
#import "result" 5
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

#import "common/nan.wgsl"
#import "common/grid.wgsl"

fn fetch(operand: u32, index: u32) -> Eight {
    switch operand {
        case 1u: { return operand1[index]; }
        case 2u: { return operand2[index]; }
        default: { return operand3[index]; }
    }
}

// What the invocations of a row tell each other, and the sums of rows' weights.
var<workgroup> told: array<f32, INVOCATIONS>;

fn write(result: u32, index: u32, row: u32, value: vec4<f32>) {
    write5(index, value * (1.0 / ((told[4u * row] + told[4u * row + 1u]) + (told[4u * row + 2u] + told[4u * row + 3u]))));
}

// Scores of keys that are not seen are the least.
fn seen_scores(index: u32, key: u32, own: u32) -> Pair {
    let pair = pair_of(0u, index);
    let before = own - key - low_columns(index);
    let low = select(vec4<f32>(LEAST), params.scale * pair.low, in_window(before));
    let high = select(vec4<f32>(LEAST), params.scale * pair.high, in_window(before - 4u));
    return Pair(low, high);
}

// WGSL does not promise that the exponential of a very low number is 0.
fn weigh(scores: vec4<f32>, most: f32, seen: vec4<bool>) -> vec4<f32> {
    return select(vec4<f32>(0.0), keep_nan4(exp(scores - most), scores - most), seen);
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
    let queries = Rows(1u, (block.x * params.query_stride + head_place(head)) / 2u, params.query_stride / 2u, block.y);
    let key = (block.z * params.key_stride + head_place(head / params.shared_by)) / 2u;
    let last = block.w + params.causal * (block.y - 1u);
    let row = index / 4u;
    // The query's own key, and the first that one of the queries sees.
    let own = block.w - 1u + params.causal * min(row, block.y - 1u);
    let begin = first_seen(block.w);
    let stride = params.key_stride / 2u;
    keep_tile(0u, bring(queries, index), index);
    var next = bring(Rows(2u, key + begin * stride, stride, min(TILE, last - begin)), index);
    var top = LEAST;
    for (var j = begin; j < last; j += TILE) {
        keep_tile(1u, next, index);
        workgroupBarrier();
        // After the last ones the first again, for the second time.
        let after = select(begin, j + TILE, j + TILE < last);
        next = bring(Rows(2u, key + after * stride, stride, min(TILE, last - after)), index);
        put_dots(0u, 1u, 0u, place);
        workgroupBarrier();
        let pair = seen_scores(index, j, own);
        let most = max(pair.low, pair.high);
        top = max(top, max(max(most.x, most.y), max(most.z, most.w)));
    }
    told[index] = top;
    workgroupBarrier();
    top = max(max(told[4u * row], told[4u * row + 1u]), max(told[4u * row + 2u], told[4u * row + 3u]));
    var total = vec4<f32>(0.0);
    var sums0: Sums;
    var sums1: Sums;
    var sums2: Sums;
    var sums3: Sums;
    for (var j = begin; j < last; j += TILE) {
        keep_tile(1u, next, index);
        workgroupBarrier();
        let values = bring(Rows(3u, key + j * stride, stride, min(TILE, last - j)), index);
        put_dots(0u, 1u, 0u, place);
        workgroupBarrier();
        let pair = seen_scores(index, j, own);
        let before = own - j - low_columns(index);
        let weights = Pair(weigh(pair.low, top, in_window(before)), weigh(pair.high, top, in_window(before - 4u)));
        total += weights.low + weights.high;
        put_pair(0u, weights, index);
        keep_tile(1u, values, index);
        workgroupBarrier();
        let after = select(begin, j + TILE, j + TILE < last);
        next = bring(Rows(2u, key + after * stride, stride, min(TILE, last - after)), index);
        let w0 = weights_of(0u, 0u, place);
        let w1 = weights_of(0u, 16u, place);
        sums0 = add_rows(w0, w1, 1u, 0u, sums0, place);
        if (WIDTH4 > 8u) { sums1 = add_rows(w0, w1, 1u, 1u, sums1, place); }
        if (WIDTH4 > 16u) { sums2 = add_rows(w0, w1, 1u, 2u, sums2, place); }
        if (WIDTH4 > 24u) { sums3 = add_rows(w0, w1, 1u, 3u, sums3, place); }
        workgroupBarrier();
    }
    told[index] = (total.x + total.y) + (total.z + total.w);
    put_result(0u, 0u, sums0, queries, place);
    if (WIDTH4 > 8u) { put_result(0u, 1u, sums1, queries, place); }
    if (WIDTH4 > 16u) { put_result(0u, 2u, sums2, queries, place); }
    if (WIDTH4 > 24u) { put_result(0u, 3u, sums3, queries, place); }
    if (index % 4u == 0u && row < block.y) {
        let sum = (told[index] + told[index + 1u]) + (told[index + 2u] + told[index + 3u]);
        lse[(block.x + row) * params.lse_stride + head] = keep_nan(top + log(sum), sum);
    }
}
