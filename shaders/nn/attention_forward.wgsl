// Attention's forward as the kernels for drivers on CPUs share it, 4 queries of one head to an invocation, one key at a time, with the online softmax.
// Neighbouring invocations have neighbouring heads of the same queries, so that their loops agree.
//
// The kernel has `with_distances`, which says what distances add to scores.

#import "nn/attention_rows.wgsl"
#import "nn/attention_operand.wgsl" 1
#import "nn/attention_operand.wgsl" 2
#import "nn/attention_operand.wgsl" 3
// First query row, rows, first key row, keys that the first query sees.
@group(0) @binding(4) var<storage, read> blocks: array<vec4<u32>>;
#import "nn/attention_result.wgsl" 5
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

fn blend(rows: ptr<function, Rows4>, b: u32, before: vec4<f32>, p: vec4<f32>, value: mat4x4<f32>) {
    (*rows)[b] = before.x * (*rows)[b] + p.x * value;
    (*rows)[8u + b] = before.y * (*rows)[8u + b] + p.y * value;
    (*rows)[16u + b] = before.z * (*rows)[16u + b] + p.z * value;
    (*rows)[24u + b] = before.w * (*rows)[24u + b] + p.w * value;
}

fn blend_all(rows: ptr<function, Rows4>, before: vec4<f32>, p: vec4<f32>, base: u32, start: u32) {
    blend(rows, 0u, before, p, block3(base, start));
    if (WIDTH4 > start + 4u) { blend(rows, 1u, before, p, block3(base, start + 4u)); }
    if (WIDTH4 > start + 8u) { blend(rows, 2u, before, p, block3(base, start + 8u)); }
    if (WIDTH4 > start + 12u) { blend(rows, 3u, before, p, block3(base, start + 12u)); }
    if (WIDTH4 > start + 16u) { blend(rows, 4u, before, p, block3(base, start + 16u)); }
    if (WIDTH4 > start + 20u) { blend(rows, 5u, before, p, block3(base, start + 20u)); }
    if (WIDTH4 > start + 24u) { blend(rows, 6u, before, p, block3(base, start + 24u)); }
    if (WIDTH4 > start + 28u) { blend(rows, 7u, before, p, block3(base, start + 28u)); }
}

fn element(index: u32) {
    let at = min(params.first + index, params.count - 1u);
    let head = at % params.heads;
    let block = blocks[at / params.heads];
    let held = block.y;
    let query = block.x * params.query_stride + head_place(head);
    let key = block.z * params.key_stride + head_place(head / params.shared_by);
    // The queries' own keys, or the last that they see.
    let later = min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(held - 1u));
    let own = vec4<u32>(block.w - 1u) + params.causal * later;
    // Their places in the sequence, where queries and keys are the same rows.
    let queries_at = vec4<u32>(block.x - block.z) + later;
    var queries: Rows4;
    load1(&queries, held, query, params.query_stride, 0u);
    var more_queries: Rows4;
    if (WIDTH4 > REST) { load1(&more_queries, held, query, params.query_stride, REST); }
    var rows: Rows4;
    var more_rows: Rows4;
    var top = vec4<f32>(LEAST);
    var total = vec4<f32>(0.0);
    for (var j = first_seen(block.w); j <= own.w; j += 1u) {
        let place = key + j * params.key_stride;
        let seen = in_window(own - vec4<u32>(j));
        var dots = dots2(&queries, place, 0u);
        if (WIDTH4 > REST) { dots += dots2(&more_queries, place, REST); }
        let s = select(vec4<f32>(LEAST), with_distances(params.scale * dots, head, queries_at, j), seen);
        let most = max(top, s);
        let before = exp(max(top - most, vec4<f32>(-100.0)));
        // WGSL does not promise that the exponential of so low a number is 0.
        let p = select(vec4<f32>(0.0), keep_nan4(exp(s - most), s - most), seen);
        total = total * before + p;
        blend_all(&rows, before, p, place, 0u);
        if (WIDTH4 > REST) { blend_all(&more_rows, before, p, place, REST); }
        top = most;
    }
    if (params.first + index < params.count) {
        store_rows5(&rows, held, query, params.query_stride, 1.0 / total, 0u);
        if (WIDTH4 > REST) { store_rows5(&more_rows, held, query, params.query_stride, 1.0 / total, REST); }
        let value = keep_nan4(top + log(total), total);
        let place = block.x * params.lse_stride + head;
        lse[place] = value.x;
        if (held > 1u) { lse[place + params.lse_stride] = value.y; }
        if (held > 2u) { lse[place + 2u * params.lse_stride] = value.z; }
        if (held > 3u) { lse[place + 3u * params.lse_stride] = value.w; }
    }
}

#import "common/nan.wgsl"
#import "common/elements.wgsl"
