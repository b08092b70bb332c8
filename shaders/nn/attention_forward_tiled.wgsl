// Attention's forward as the kernels for GPUs share it: 32 queries of one head to a workgroup, 32 keys at a time, with the online softmax.
//
// The kernel has `with_distances`, which says what distances add to scores.

#import "nn/attention_tiles.wgsl"
#import "nn/attention_vectors.wgsl" 1
#import "nn/attention_vectors.wgsl" 2
#import "nn/attention_vectors.wgsl" 3
// First query row, rows, first key row, keys that the first query sees.
@group(0) @binding(4) var<storage, read> blocks: array<vec4<u32>>;
#import "nn/attention_tile_result.wgsl" 5
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

fn fetch(operand: u32, first: u32, c: u32) -> vec4<f32> {
    switch operand {
        case 1u: { return vector1(first, c); }
        case 2u: { return vector2(first, c); }
        default: { return vector3(first, c); }
    }
}

// What invocations tell each other of their rows: x's at x PITCH + y.
var<workgroup> told: array<vec4<f32>, 8u * PITCH>;

fn tell(value: vec4<f32>, at: vec2<u32>) {
    told[at.x * PITCH + at.y] = value;
    workgroupBarrier();
}

// The largest of what the invocations of a row have.
fn largest(mine: vec4<f32>, at: vec2<u32>) -> vec4<f32> {
    tell(mine, at);
    var most = max(told[at.y], told[at.y + PITCH]);
    most = max(most, max(told[at.y + 2u * PITCH], told[at.y + 3u * PITCH]));
    most = max(most, max(told[at.y + 4u * PITCH], told[at.y + 5u * PITCH]));
    return max(most, max(told[at.y + 6u * PITCH], told[at.y + 7u * PITCH]));
}

fn sum_of_all(mine: vec4<f32>, at: vec2<u32>) -> vec4<f32> {
    tell(mine, at);
    let first = (told[at.y] + told[at.y + PITCH]) + (told[at.y + 2u * PITCH] + told[at.y + 3u * PITCH]);
    let last = (told[at.y + 4u * PITCH] + told[at.y + 5u * PITCH]) + (told[at.y + 6u * PITCH] + told[at.y + 7u * PITCH]);
    return first + last;
}

// WGSL does not promise that the exponential of a very low number is 0.
fn weigh(scores: vec4<f32>, most: vec4<f32>, seen: vec4<bool>) -> vec4<f32> {
    return select(vec4<f32>(0.0), keep_nan4(exp(scores - most), scores - most), seen);
}

fn scaled(rows: mat4x4<f32>, factors: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(factors.x * rows[0], factors.y * rows[1], factors.z * rows[2], factors.w * rows[3]);
}

fn scale_sums(sums: ptr<function, Sums>, factors: vec4<f32>) {
    (*sums)[0] = scaled((*sums)[0], factors);
    if (part4() > 8u) { (*sums)[1] = scaled((*sums)[1], factors); }
    if (part4() > 16u) { (*sums)[2] = scaled((*sums)[2], factors); }
    if (part4() > 24u) { (*sums)[3] = scaled((*sums)[3], factors); }
}

#import "common/nan.wgsl"
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
    let queries = Rows(1u, block.x * params.query_stride + head_place(head), params.query_stride, block.y);
    let key = block.z * params.key_stride + head_place(head / params.shared_by);
    let last = block.w + params.causal * (block.y - 1u);
    // The queries' own keys, or the last that they see.
    let later = min(every_eighth(at.y), vec4<u32>(block.y - 1u));
    let own = vec4<u32>(block.w - 1u) + params.causal * later;
    // Their places in the sequence, where queries and keys are the same rows.
    let queries_at = vec4<u32>(block.x - block.z) + later;
    var sums: Sums;
    var top = vec4<f32>(LEAST);
    // Over this invocation's columns alone, until the end.
    var total = vec4<f32>(0.0);
    for (var j = first_seen(block.w); j < last; j += TILE) {
        let first = key + j * params.key_stride;
        let count = min(TILE, last - j);
        let s = params.scale * product(queries, Rows(2u, first, params.key_stride, count), at);
        let keys = every_eighth(j + at.x);
        let s0 = select(vec4<f32>(LEAST), with_distances(s[0], head, queries_at, keys.x), in_window(own - keys.x));
        let s1 = select(vec4<f32>(LEAST), with_distances(s[1], head, queries_at, keys.y), in_window(own - keys.y));
        let s2 = select(vec4<f32>(LEAST), with_distances(s[2], head, queries_at, keys.z), in_window(own - keys.z));
        let s3 = select(vec4<f32>(LEAST), with_distances(s[3], head, queries_at, keys.w), in_window(own - keys.w));
        let most = max(top, largest(max(max(s0, s1), max(s2, s3)), at));
        let p = mat4x4<f32>(
            weigh(s0, most, in_window(own - keys.x)),
            weigh(s1, most, in_window(own - keys.y)),
            weigh(s2, most, in_window(own - keys.z)),
            weigh(s3, most, in_window(own - keys.w)),
        );
        put_weights(p, at);
        let before = exp(max(top - most, vec4<f32>(-100.0)));
        total = total * before + ((p[0] + p[1]) + (p[2] + p[3]));
        scale_sums(&sums, before);
        accumulate(&sums, Rows(3u, first, params.key_stride, count), start, at);
        top = most;
    }
    total = sum_of_all(total, at);
    scale_sums(&sums, 1.0 / total);
    store5(queries, start + at.x, sums[0], at);
    if (part4() > 8u) { store5(queries, start + at.x + 8u, sums[1], at); }
    if (part4() > 16u) { store5(queries, start + at.x + 16u, sums[2], at); }
    if (part4() > 24u) { store5(queries, start + at.x + 24u, sums[3], at); }
    if (at.x == 0u && start == 0u) {
        let value = keep_nan4(top + log(total), total);
        let first = (block.x + at.y) * params.lse_stride + head;
        let step = 8u * params.lse_stride;
        if (at.y < block.y) { lse[first] = value.x; }
        if (at.y + 8u < block.y) { lse[first + step] = value.y; }
        if (at.y + 16u < block.y) { lse[first + 2u * step] = value.z; }
        if (at.y + 24u < block.y) { lse[first + 3u * step] = value.w; }
    }
}
