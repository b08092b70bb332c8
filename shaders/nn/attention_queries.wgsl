// Gradient of attention by the queries: with p the probabilities again, dq = scale sum_j p (dout . v_j - dout . out) k_j. Shape as the
// forward's.

#import "nn/attention_rows.wgsl"
#import "operand1"
#import "operand2"
#import "operand3"
#import "operand4"
#import "nn/attention_stat.wgsl"
// As the forward's.
@group(0) @binding(6) var<storage, read> blocks: array<vec4<u32>>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4<f32>>;

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

fn block4(base: u32, b: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        keep(read4(base + place(4u * b)), 4u * b),
        keep(read4(base + place(4u * b + 1u)), 4u * b + 1u),
        keep(read4(base + place(4u * b + 2u)), 4u * b + 2u),
        keep(read4(base + place(4u * b + 3u)), 4u * b + 3u),
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

fn load_outs_row(rows: ptr<function, Rows4>, i: u32, base: u32) {
    (*rows)[8u * i + 0u] = block4(base, 0u);
    if (WIDTH4 > 4u) { (*rows)[8u * i + 1u] = block4(base, 1u); }
    if (WIDTH4 > 8u) { (*rows)[8u * i + 2u] = block4(base, 2u); }
    if (WIDTH4 > 12u) { (*rows)[8u * i + 3u] = block4(base, 3u); }
    if (WIDTH4 > 16u) { (*rows)[8u * i + 4u] = block4(base, 4u); }
    if (WIDTH4 > 20u) { (*rows)[8u * i + 5u] = block4(base, 5u); }
    if (WIDTH4 > 24u) { (*rows)[8u * i + 6u] = block4(base, 6u); }
    if (WIDTH4 > 28u) { (*rows)[8u * i + 7u] = block4(base, 7u); }
}

// Rows beyond the last are the last.
fn load_outs(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32) {
    load_outs_row(rows, 0u, base);
    load_outs_row(rows, 1u, base + min(1u, held - 1u) * stride);
    load_outs_row(rows, 2u, base + min(2u, held - 1u) * stride);
    load_outs_row(rows, 3u, base + min(3u, held - 1u) * stride);
}

fn query_dots(rows: ptr<function, Rows4>, base: u32) -> vec4<f32> {
    var s = vec4<f32>(0.0);
    s += dots(rows, 0u, block2(base, 0u));
    if (WIDTH4 > 4u) { s += dots(rows, 1u, block2(base, 1u)); }
    if (WIDTH4 > 8u) { s += dots(rows, 2u, block2(base, 2u)); }
    if (WIDTH4 > 12u) { s += dots(rows, 3u, block2(base, 3u)); }
    if (WIDTH4 > 16u) { s += dots(rows, 4u, block2(base, 4u)); }
    if (WIDTH4 > 20u) { s += dots(rows, 5u, block2(base, 5u)); }
    if (WIDTH4 > 24u) { s += dots(rows, 6u, block2(base, 6u)); }
    if (WIDTH4 > 28u) { s += dots(rows, 7u, block2(base, 7u)); }
    return s;
}

fn value_dots(rows: ptr<function, Rows4>, base: u32) -> vec4<f32> {
    var s = vec4<f32>(0.0);
    s += dots(rows, 0u, block3(base, 0u));
    if (WIDTH4 > 4u) { s += dots(rows, 1u, block3(base, 1u)); }
    if (WIDTH4 > 8u) { s += dots(rows, 2u, block3(base, 2u)); }
    if (WIDTH4 > 12u) { s += dots(rows, 3u, block3(base, 3u)); }
    if (WIDTH4 > 16u) { s += dots(rows, 4u, block3(base, 4u)); }
    if (WIDTH4 > 20u) { s += dots(rows, 5u, block3(base, 5u)); }
    if (WIDTH4 > 24u) { s += dots(rows, 6u, block3(base, 6u)); }
    if (WIDTH4 > 28u) { s += dots(rows, 7u, block3(base, 7u)); }
    return s;
}

fn add_keys(rows: ptr<function, Rows4>, factors: vec4<f32>, base: u32) {
    add_multiples(rows, 0u, factors, block2(base, 0u));
    if (WIDTH4 > 4u) { add_multiples(rows, 1u, factors, block2(base, 1u)); }
    if (WIDTH4 > 8u) { add_multiples(rows, 2u, factors, block2(base, 2u)); }
    if (WIDTH4 > 12u) { add_multiples(rows, 3u, factors, block2(base, 3u)); }
    if (WIDTH4 > 16u) { add_multiples(rows, 4u, factors, block2(base, 4u)); }
    if (WIDTH4 > 20u) { add_multiples(rows, 5u, factors, block2(base, 5u)); }
    if (WIDTH4 > 24u) { add_multiples(rows, 6u, factors, block2(base, 6u)); }
    if (WIDTH4 > 28u) { add_multiples(rows, 7u, factors, block2(base, 7u)); }
}

fn store_dq(base: u32, b: u32, block: mat4x4<f32>) {
    dq[base + 4u * b] = block[0];
    if (4u * b + 1u < WIDTH4) { dq[base + 4u * b + 1u] = block[1]; }
    if (4u * b + 2u < WIDTH4) { dq[base + 4u * b + 2u] = block[2]; }
    if (4u * b + 3u < WIDTH4) { dq[base + 4u * b + 3u] = block[3]; }
}

fn store_dq_row(rows: ptr<function, Rows4>, i: u32, base: u32, factor: f32) {
    store_dq(base, 0u, factor * (*rows)[8u * i + 0u]);
    if (WIDTH4 > 4u) { store_dq(base, 1u, factor * (*rows)[8u * i + 1u]); }
    if (WIDTH4 > 8u) { store_dq(base, 2u, factor * (*rows)[8u * i + 2u]); }
    if (WIDTH4 > 12u) { store_dq(base, 3u, factor * (*rows)[8u * i + 3u]); }
    if (WIDTH4 > 16u) { store_dq(base, 4u, factor * (*rows)[8u * i + 4u]); }
    if (WIDTH4 > 20u) { store_dq(base, 5u, factor * (*rows)[8u * i + 5u]); }
    if (WIDTH4 > 24u) { store_dq(base, 6u, factor * (*rows)[8u * i + 6u]); }
    if (WIDTH4 > 28u) { store_dq(base, 7u, factor * (*rows)[8u * i + 7u]); }
}

fn store_dq_rows(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32, factors: vec4<f32>) {
    store_dq_row(rows, 0u, base, factors.x);
    if (held > 1u) { store_dq_row(rows, 1u, base + stride, factors.y); }
    if (held > 2u) { store_dq_row(rows, 2u, base + 2u * stride, factors.z); }
    if (held > 3u) { store_dq_row(rows, 3u, base + 3u * stride, factors.w); }
}

fn element(index: u32) {
    let at = min(params.first + index, params.count - 1u);
    let head = at % params.heads;
    let block = blocks[at / params.heads];
    let held = block.y;
    let query = block.x * params.query4 + head * WIDTH4;
    let key = block.z * params.key4 + (head / params.shared_by) * WIDTH4;
    let beyond = min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(held - 1u));
    let seen = vec4<u32>(block.w) + beyond;
    let rows = vec4<u32>(block.x) + beyond;
    let s0 = stat(rows.x, head);
    let s1 = stat(rows.y, head);
    let s2 = stat(rows.z, head);
    let s3 = stat(rows.w, head);
    let lse = vec4<f32>(s0.x, s1.x, s2.x, s3.x);
    let delta = vec4<f32>(s0.y, s1.y, s2.y, s3.y);
    var queries: Rows4;
    load_queries(&queries, held, query, params.query4);
    var outs: Rows4;
    load_outs(&outs, held, query, params.query4);
    var gradient: Rows4;
    for (var j = 0u; j < seen.w; j += 1u) {
        let place = key + j * params.key4;
        let p = probability(params.scale * query_dots(&queries, place) - lse);
        let d = select(vec4<f32>(0.0), p * (value_dots(&outs, place) - delta), vec4<u32>(j) < seen);
        add_keys(&gradient, d, place);
    }
    if (params.first + index < params.count) {
        store_dq_rows(&gradient, held, query, params.query4, vec4<f32>(params.scale));
    }
}

#import "common/elements.wgsl"
