// Causal grouped-query attention, forward: out = softmax(q kT / sqrt(width)) v with the online softmax, 4 queries of one head to an
// invocation, one key at a time. Neighbouring invocations have neighbouring heads of the same queries, so that their loops agree.

#import "nn/attention_rows.wgsl"
#import "operand1"
#import "operand2"
#import "operand3"
// First query row, rows, first key row, keys that the first query sees.
@group(0) @binding(4) var<storage, read> blocks: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> out_rows: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;

fn block1(base: u32, b: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        keep(read1(base + place(4u * b)), 4u * b),
        keep(read1(base + place(4u * b + 1u)), 4u * b + 1u),
        keep(read1(base + place(4u * b + 2u)), 4u * b + 2u),
        keep(read1(base + place(4u * b + 3u)), 4u * b + 3u),
    );
}

fn block2(base: u32, b: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        keep(read2(base + place(4u * b)), 4u * b),
        keep(read2(base + place(4u * b + 1u)), 4u * b + 1u),
        keep(read2(base + place(4u * b + 2u)), 4u * b + 2u),
        keep(read2(base + place(4u * b + 3u)), 4u * b + 3u),
    );
}

fn block3(base: u32, b: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        keep(read3(base + place(4u * b)), 4u * b),
        keep(read3(base + place(4u * b + 1u)), 4u * b + 1u),
        keep(read3(base + place(4u * b + 2u)), 4u * b + 2u),
        keep(read3(base + place(4u * b + 3u)), 4u * b + 3u),
    );
}

fn load_queries_row(rows: ptr<function, Rows4>, i: u32, base: u32) {
    (*rows)[8u * i + 0u] = block1(base, 0u);
    if (WIDTH4 > 4u) { (*rows)[8u * i + 1u] = block1(base, 1u); }
    if (WIDTH4 > 8u) { (*rows)[8u * i + 2u] = block1(base, 2u); }
    if (WIDTH4 > 12u) { (*rows)[8u * i + 3u] = block1(base, 3u); }
    if (WIDTH4 > 16u) { (*rows)[8u * i + 4u] = block1(base, 4u); }
    if (WIDTH4 > 20u) { (*rows)[8u * i + 5u] = block1(base, 5u); }
    if (WIDTH4 > 24u) { (*rows)[8u * i + 6u] = block1(base, 6u); }
    if (WIDTH4 > 28u) { (*rows)[8u * i + 7u] = block1(base, 7u); }
}

// Rows beyond the last are the last.
fn load_queries(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32) {
    load_queries_row(rows, 0u, base);
    load_queries_row(rows, 1u, base + min(1u, held - 1u) * stride);
    load_queries_row(rows, 2u, base + min(2u, held - 1u) * stride);
    load_queries_row(rows, 3u, base + min(3u, held - 1u) * stride);
}

fn scores(queries: ptr<function, Rows4>, base: u32) -> vec4<f32> {
    var s = vec4<f32>(0.0);
    s += dots(queries, 0u, block2(base, 0u));
    if (WIDTH4 > 4u) { s += dots(queries, 1u, block2(base, 1u)); }
    if (WIDTH4 > 8u) { s += dots(queries, 2u, block2(base, 2u)); }
    if (WIDTH4 > 12u) { s += dots(queries, 3u, block2(base, 3u)); }
    if (WIDTH4 > 16u) { s += dots(queries, 4u, block2(base, 4u)); }
    if (WIDTH4 > 20u) { s += dots(queries, 5u, block2(base, 5u)); }
    if (WIDTH4 > 24u) { s += dots(queries, 6u, block2(base, 6u)); }
    if (WIDTH4 > 28u) { s += dots(queries, 7u, block2(base, 7u)); }
    return s;
}

fn blend(rows: ptr<function, Rows4>, b: u32, before: vec4<f32>, p: vec4<f32>, value: mat4x4<f32>) {
    (*rows)[b] = before.x * (*rows)[b] + p.x * value;
    (*rows)[8u + b] = before.y * (*rows)[8u + b] + p.y * value;
    (*rows)[16u + b] = before.z * (*rows)[16u + b] + p.z * value;
    (*rows)[24u + b] = before.w * (*rows)[24u + b] + p.w * value;
}

fn blend_all(rows: ptr<function, Rows4>, before: vec4<f32>, p: vec4<f32>, base: u32) {
    blend(rows, 0u, before, p, block3(base, 0u));
    if (WIDTH4 > 4u) { blend(rows, 1u, before, p, block3(base, 1u)); }
    if (WIDTH4 > 8u) { blend(rows, 2u, before, p, block3(base, 2u)); }
    if (WIDTH4 > 12u) { blend(rows, 3u, before, p, block3(base, 3u)); }
    if (WIDTH4 > 16u) { blend(rows, 4u, before, p, block3(base, 4u)); }
    if (WIDTH4 > 20u) { blend(rows, 5u, before, p, block3(base, 5u)); }
    if (WIDTH4 > 24u) { blend(rows, 6u, before, p, block3(base, 6u)); }
    if (WIDTH4 > 28u) { blend(rows, 7u, before, p, block3(base, 7u)); }
}

fn store_out(base: u32, b: u32, block: mat4x4<f32>) {
    out_rows[base + 4u * b] = block[0];
    if (4u * b + 1u < WIDTH4) { out_rows[base + 4u * b + 1u] = block[1]; }
    if (4u * b + 2u < WIDTH4) { out_rows[base + 4u * b + 2u] = block[2]; }
    if (4u * b + 3u < WIDTH4) { out_rows[base + 4u * b + 3u] = block[3]; }
}

fn store_out_row(rows: ptr<function, Rows4>, i: u32, base: u32, factor: f32) {
    store_out(base, 0u, factor * (*rows)[8u * i + 0u]);
    if (WIDTH4 > 4u) { store_out(base, 1u, factor * (*rows)[8u * i + 1u]); }
    if (WIDTH4 > 8u) { store_out(base, 2u, factor * (*rows)[8u * i + 2u]); }
    if (WIDTH4 > 12u) { store_out(base, 3u, factor * (*rows)[8u * i + 3u]); }
    if (WIDTH4 > 16u) { store_out(base, 4u, factor * (*rows)[8u * i + 4u]); }
    if (WIDTH4 > 20u) { store_out(base, 5u, factor * (*rows)[8u * i + 5u]); }
    if (WIDTH4 > 24u) { store_out(base, 6u, factor * (*rows)[8u * i + 6u]); }
    if (WIDTH4 > 28u) { store_out(base, 7u, factor * (*rows)[8u * i + 7u]); }
}

fn store_out_rows(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32, factors: vec4<f32>) {
    store_out_row(rows, 0u, base, factors.x);
    if (held > 1u) { store_out_row(rows, 1u, base + stride, factors.y); }
    if (held > 2u) { store_out_row(rows, 2u, base + 2u * stride, factors.z); }
    if (held > 3u) { store_out_row(rows, 3u, base + 3u * stride, factors.w); }
}

fn element(index: u32) {
    let at = min(params.first + index, params.count - 1u);
    let head = at % params.heads;
    let block = blocks[at / params.heads];
    let held = block.y;
    let query = block.x * params.query4 + head * WIDTH4;
    let key = block.z * params.key4 + (head / params.shared_by) * WIDTH4;
    let seen = vec4<u32>(block.w) + min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(held - 1u));
    var queries: Rows4;
    load_queries(&queries, held, query, params.query4);
    var rows: Rows4;
    var top = vec4<f32>(LEAST);
    var total = vec4<f32>(0.0);
    for (var j = 0u; j < seen.w; j += 1u) {
        let s = select(vec4<f32>(LEAST), params.scale * scores(&queries, key + j * params.key4), vec4<u32>(j) < seen);
        let most = max(top, s);
        let before = exp(max(top - most, vec4<f32>(-100.0)));
        // WGSL does not promise that the exponential of so low a number is 0.
        let p = select(vec4<f32>(0.0), keep_nan4(exp(s - most), s - most), vec4<u32>(j) < seen);
        total = total * before + p;
        blend_all(&rows, before, p, key + j * params.key4);
        top = most;
    }
    if (params.first + index < params.count) {
        store_out_rows(&rows, held, query, params.query4, 1.0 / total);
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
