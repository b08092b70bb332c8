// Gradients of attention by keys and values, on tensor cores: 32 keys of one head to a workgroup, which goes over all queries that see them, 32 at a
// time and in a fixed order: dv = sum_i p_i dout_i, dk = scale sum_i p_i (dout_i . v - dout_i . out_i) q_i.

#import "cores"

const TILES: u32 = 4u;
const WEIGHT_TILES: u32 = 2u;
const SCORE_TILES: u32 = 2u;
const KEYS: u32 = 0u;
const VALUES: u32 = 1u;
const QUERIES: u32 = 2u;
const OUTS: u32 = 3u;
// Probabilities are kept times this, so that those of a thousand keys and more are normal numbers in f16.
const LIFT: f32 = 1024.0;

#import "nn/attention_fragments.wgsl"
#import "common/eights.wgsl" 1
#import "common/eights.wgsl" 2
#import "common/eights.wgsl" 3
#import "common/eights.wgsl" 4
#import "nn/attention_stat.wgsl"
@group(0) @binding(6) var<storage, read> blocks: array<Keys>;
#import "result" 7
#import "result" 8

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
    if (result == 0u) {
        write7(index, params.scale * value);
    } else {
        write8(index, value / LIFT);
    }
}

// Log-sum-exp and dout . out of four queries.
struct Stats {
    sums: vec4<f32>,
    deltas: vec4<f32>,
}

fn stats_of(block: Keys, end: u32, queries: vec4<u32>, head: u32) -> Stats {
    let rows = block.first_query + min(queries, vec4<u32>(end - 1u));
    let s0 = stat(rows.x, head);
    let s1 = stat(rows.y, head);
    let s2 = stat(rows.z, head);
    let s3 = stat(rows.w, head);
    return Stats(vec4<f32>(s0.x, s1.x, s2.x, s3.x), vec4<f32>(s0.y, s1.y, s2.y, s3.y));
}

// Probabilities of one key, which is the query `own`'s, and four queries, 0 where the query does not see the key or is beyond the last.
fn weigh(scores: vec4<f32>, sums: vec4<f32>, queries: vec4<u32>, end: u32, own: u32) -> vec4<f32> {
    let sees = in_window(queries - own) & (queries < vec4<u32>(end));
    return select(vec4<f32>(0.0), probability(params.scale * scores - sums), sees);
}

// The rows of a head of queries from query i on.
fn query_rows(operand: u32, block: Keys, end: u32, head: u32, i: u32) -> Rows {
    let first = ((block.first_query + i) * params.query_stride + head_place(head)) / 2u;
    return Rows(operand, first, params.query_stride / 2u, min(TILE, end - i));
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
    let key_heads = params.heads / params.shared_by;
    let head = unit % key_heads;
    let block = blocks[unit / key_heads];
    let key = (block.row * params.key_stride + head_place(head)) / 2u;
    let keys = Rows(2u, key, params.key_stride / 2u, block.rows);
    let own = bitcast<u32>(block.lower) + index / 4u;
    let end = end_of_queries(block);
    keep_tile(KEYS, bring(keys, index), index);
    keep_tile(VALUES, bring(Rows(3u, key, params.key_stride / 2u, block.rows), index), index);
    let start = first_query(block);
    // Tiles of queries in each of the heads that share the keys.
    let tiles = (max(end, start) - start + TILE - 1u) / TILE;
    var key0: Sums;
    var key1: Sums;
    var key2: Sums;
    var key3: Sums;
    var value0: Sums;
    var value1: Sums;
    var value2: Sums;
    var value3: Sums;
    for (var turn = 0u; turn < tiles * params.shared_by; turn += 1u) {
        let i = start + TILE * (turn % tiles);
        let query_head = head * params.shared_by + turn / tiles;
        keep_tile(QUERIES, bring(query_rows(1u, block, end, query_head, i), index), index);
        keep_tile(OUTS, bring(query_rows(4u, block, end, query_head, i), index), index);
        workgroupBarrier();
        let queries = i + low_columns(index);
        let low = stats_of(block, end, queries, query_head);
        let high = stats_of(block, end, queries + 4u, query_head);
        put_dots(KEYS, QUERIES, 0u, place);
        put_dots(VALUES, OUTS, 1u, place);
        workgroupBarrier();
        let s = pair_of(0u, index);
        let d = pair_of(1u, index);
        let p = Pair(weigh(s.low, low.sums, queries, end, own), weigh(s.high, high.sums, queries + 4u, end, own));
        put_pair(0u, Pair(LIFT * p.low, LIFT * p.high), index);
        put_pair(1u, Pair(p.low * (d.low - low.deltas), p.high * (d.high - high.deltas)), index);
        workgroupBarrier();
        let p0 = weights_of(0u, 0u, place);
        let p1 = weights_of(0u, 16u, place);
        let d0 = weights_of(1u, 0u, place);
        let d1 = weights_of(1u, 16u, place);
        value0 = add_rows(p0, p1, OUTS, 0u, value0, place);
        key0 = add_rows(d0, d1, QUERIES, 0u, key0, place);
        if (WIDTH4 > 8u) {
            value1 = add_rows(p0, p1, OUTS, 1u, value1, place);
            key1 = add_rows(d0, d1, QUERIES, 1u, key1, place);
        }
        if (WIDTH4 > 16u) {
            value2 = add_rows(p0, p1, OUTS, 2u, value2, place);
            key2 = add_rows(d0, d1, QUERIES, 2u, key2, place);
        }
        if (WIDTH4 > 24u) {
            value3 = add_rows(p0, p1, OUTS, 3u, value3, place);
            key3 = add_rows(d0, d1, QUERIES, 3u, key3, place);
        }
        workgroupBarrier();
    }
    put_result(0u, 0u, key0, keys, place);
    put_result(1u, 0u, value0, keys, place);
    if (WIDTH4 > 8u) {
        put_result(0u, 1u, key1, keys, place);
        put_result(1u, 1u, value1, keys, place);
    }
    if (WIDTH4 > 16u) {
        put_result(0u, 2u, key2, keys, place);
        put_result(1u, 2u, value2, keys, place);
    }
    if (WIDTH4 > 24u) {
        put_result(0u, 3u, key3, keys, place);
        put_result(1u, 3u, value3, keys, place);
    }
}
