// Gradients of attention by keys and values: 4 keys of one head to an invocation, which goes over all queries that see them in a fixed
// order: dv = sum_i p_i dout_i, dk = scale sum_i p_i (dout_i . v - dout_i . out_i) q_i.

#import "nn/attention_rows.wgsl"
#import "operand1"
#import "operand2"
#import "operand3"
#import "operand4"
#import "nn/attention_stat.wgsl"
@group(0) @binding(6) var<storage, read> blocks: array<Keys>;
@group(0) @binding(7) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dv: array<vec4<f32>>;

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

fn load_keys_row(rows: ptr<function, Rows4>, i: u32, base: u32) {
    (*rows)[8u * i + 0u] = block2(base, 0u);
    if (WIDTH4 > 4u) { (*rows)[8u * i + 1u] = block2(base, 1u); }
    if (WIDTH4 > 8u) { (*rows)[8u * i + 2u] = block2(base, 2u); }
    if (WIDTH4 > 12u) { (*rows)[8u * i + 3u] = block2(base, 3u); }
    if (WIDTH4 > 16u) { (*rows)[8u * i + 4u] = block2(base, 4u); }
    if (WIDTH4 > 20u) { (*rows)[8u * i + 5u] = block2(base, 5u); }
    if (WIDTH4 > 24u) { (*rows)[8u * i + 6u] = block2(base, 6u); }
    if (WIDTH4 > 28u) { (*rows)[8u * i + 7u] = block2(base, 7u); }
}

// Rows beyond the last are the last.
fn load_keys(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32) {
    load_keys_row(rows, 0u, base);
    load_keys_row(rows, 1u, base + min(1u, held - 1u) * stride);
    load_keys_row(rows, 2u, base + min(2u, held - 1u) * stride);
    load_keys_row(rows, 3u, base + min(3u, held - 1u) * stride);
}

fn load_values_row(rows: ptr<function, Rows4>, i: u32, base: u32) {
    (*rows)[8u * i + 0u] = block3(base, 0u);
    if (WIDTH4 > 4u) { (*rows)[8u * i + 1u] = block3(base, 1u); }
    if (WIDTH4 > 8u) { (*rows)[8u * i + 2u] = block3(base, 2u); }
    if (WIDTH4 > 12u) { (*rows)[8u * i + 3u] = block3(base, 3u); }
    if (WIDTH4 > 16u) { (*rows)[8u * i + 4u] = block3(base, 4u); }
    if (WIDTH4 > 20u) { (*rows)[8u * i + 5u] = block3(base, 5u); }
    if (WIDTH4 > 24u) { (*rows)[8u * i + 6u] = block3(base, 6u); }
    if (WIDTH4 > 28u) { (*rows)[8u * i + 7u] = block3(base, 7u); }
}

// Rows beyond the last are the last.
fn load_values(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32) {
    load_values_row(rows, 0u, base);
    load_values_row(rows, 1u, base + min(1u, held - 1u) * stride);
    load_values_row(rows, 2u, base + min(2u, held - 1u) * stride);
    load_values_row(rows, 3u, base + min(3u, held - 1u) * stride);
}

fn key_dots(rows: ptr<function, Rows4>, base: u32) -> vec4<f32> {
    var s = vec4<f32>(0.0);
    s += dots(rows, 0u, block1(base, 0u));
    if (WIDTH4 > 4u) { s += dots(rows, 1u, block1(base, 1u)); }
    if (WIDTH4 > 8u) { s += dots(rows, 2u, block1(base, 2u)); }
    if (WIDTH4 > 12u) { s += dots(rows, 3u, block1(base, 3u)); }
    if (WIDTH4 > 16u) { s += dots(rows, 4u, block1(base, 4u)); }
    if (WIDTH4 > 20u) { s += dots(rows, 5u, block1(base, 5u)); }
    if (WIDTH4 > 24u) { s += dots(rows, 6u, block1(base, 6u)); }
    if (WIDTH4 > 28u) { s += dots(rows, 7u, block1(base, 7u)); }
    return s;
}

fn value_dots(rows: ptr<function, Rows4>, base: u32) -> vec4<f32> {
    var s = vec4<f32>(0.0);
    s += dots(rows, 0u, block4(base, 0u));
    if (WIDTH4 > 4u) { s += dots(rows, 1u, block4(base, 1u)); }
    if (WIDTH4 > 8u) { s += dots(rows, 2u, block4(base, 2u)); }
    if (WIDTH4 > 12u) { s += dots(rows, 3u, block4(base, 3u)); }
    if (WIDTH4 > 16u) { s += dots(rows, 4u, block4(base, 4u)); }
    if (WIDTH4 > 20u) { s += dots(rows, 5u, block4(base, 5u)); }
    if (WIDTH4 > 24u) { s += dots(rows, 6u, block4(base, 6u)); }
    if (WIDTH4 > 28u) { s += dots(rows, 7u, block4(base, 7u)); }
    return s;
}

fn add_queries(rows: ptr<function, Rows4>, factors: vec4<f32>, base: u32) {
    add_multiples(rows, 0u, factors, block1(base, 0u));
    if (WIDTH4 > 4u) { add_multiples(rows, 1u, factors, block1(base, 1u)); }
    if (WIDTH4 > 8u) { add_multiples(rows, 2u, factors, block1(base, 2u)); }
    if (WIDTH4 > 12u) { add_multiples(rows, 3u, factors, block1(base, 3u)); }
    if (WIDTH4 > 16u) { add_multiples(rows, 4u, factors, block1(base, 4u)); }
    if (WIDTH4 > 20u) { add_multiples(rows, 5u, factors, block1(base, 5u)); }
    if (WIDTH4 > 24u) { add_multiples(rows, 6u, factors, block1(base, 6u)); }
    if (WIDTH4 > 28u) { add_multiples(rows, 7u, factors, block1(base, 7u)); }
}

fn add_outs(rows: ptr<function, Rows4>, factors: vec4<f32>, base: u32) {
    add_multiples(rows, 0u, factors, block4(base, 0u));
    if (WIDTH4 > 4u) { add_multiples(rows, 1u, factors, block4(base, 1u)); }
    if (WIDTH4 > 8u) { add_multiples(rows, 2u, factors, block4(base, 2u)); }
    if (WIDTH4 > 12u) { add_multiples(rows, 3u, factors, block4(base, 3u)); }
    if (WIDTH4 > 16u) { add_multiples(rows, 4u, factors, block4(base, 4u)); }
    if (WIDTH4 > 20u) { add_multiples(rows, 5u, factors, block4(base, 5u)); }
    if (WIDTH4 > 24u) { add_multiples(rows, 6u, factors, block4(base, 6u)); }
    if (WIDTH4 > 28u) { add_multiples(rows, 7u, factors, block4(base, 7u)); }
}

fn store_dk(base: u32, b: u32, block: mat4x4<f32>) {
    dk[base + 4u * b] = block[0];
    if (4u * b + 1u < WIDTH4) { dk[base + 4u * b + 1u] = block[1]; }
    if (4u * b + 2u < WIDTH4) { dk[base + 4u * b + 2u] = block[2]; }
    if (4u * b + 3u < WIDTH4) { dk[base + 4u * b + 3u] = block[3]; }
}

fn store_dk_row(rows: ptr<function, Rows4>, i: u32, base: u32, factor: f32) {
    store_dk(base, 0u, factor * (*rows)[8u * i + 0u]);
    if (WIDTH4 > 4u) { store_dk(base, 1u, factor * (*rows)[8u * i + 1u]); }
    if (WIDTH4 > 8u) { store_dk(base, 2u, factor * (*rows)[8u * i + 2u]); }
    if (WIDTH4 > 12u) { store_dk(base, 3u, factor * (*rows)[8u * i + 3u]); }
    if (WIDTH4 > 16u) { store_dk(base, 4u, factor * (*rows)[8u * i + 4u]); }
    if (WIDTH4 > 20u) { store_dk(base, 5u, factor * (*rows)[8u * i + 5u]); }
    if (WIDTH4 > 24u) { store_dk(base, 6u, factor * (*rows)[8u * i + 6u]); }
    if (WIDTH4 > 28u) { store_dk(base, 7u, factor * (*rows)[8u * i + 7u]); }
}

fn store_dk_rows(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32, factors: vec4<f32>) {
    store_dk_row(rows, 0u, base, factors.x);
    if (held > 1u) { store_dk_row(rows, 1u, base + stride, factors.y); }
    if (held > 2u) { store_dk_row(rows, 2u, base + 2u * stride, factors.z); }
    if (held > 3u) { store_dk_row(rows, 3u, base + 3u * stride, factors.w); }
}

fn store_dv(base: u32, b: u32, block: mat4x4<f32>) {
    dv[base + 4u * b] = block[0];
    if (4u * b + 1u < WIDTH4) { dv[base + 4u * b + 1u] = block[1]; }
    if (4u * b + 2u < WIDTH4) { dv[base + 4u * b + 2u] = block[2]; }
    if (4u * b + 3u < WIDTH4) { dv[base + 4u * b + 3u] = block[3]; }
}

fn store_dv_row(rows: ptr<function, Rows4>, i: u32, base: u32, factor: f32) {
    store_dv(base, 0u, factor * (*rows)[8u * i + 0u]);
    if (WIDTH4 > 4u) { store_dv(base, 1u, factor * (*rows)[8u * i + 1u]); }
    if (WIDTH4 > 8u) { store_dv(base, 2u, factor * (*rows)[8u * i + 2u]); }
    if (WIDTH4 > 12u) { store_dv(base, 3u, factor * (*rows)[8u * i + 3u]); }
    if (WIDTH4 > 16u) { store_dv(base, 4u, factor * (*rows)[8u * i + 4u]); }
    if (WIDTH4 > 20u) { store_dv(base, 5u, factor * (*rows)[8u * i + 5u]); }
    if (WIDTH4 > 24u) { store_dv(base, 6u, factor * (*rows)[8u * i + 6u]); }
    if (WIDTH4 > 28u) { store_dv(base, 7u, factor * (*rows)[8u * i + 7u]); }
}

fn store_dv_rows(rows: ptr<function, Rows4>, held: u32, base: u32, stride: u32, factors: vec4<f32>) {
    store_dv_row(rows, 0u, base, factors.x);
    if (held > 1u) { store_dv_row(rows, 1u, base + stride, factors.y); }
    if (held > 2u) { store_dv_row(rows, 2u, base + 2u * stride, factors.z); }
    if (held > 3u) { store_dv_row(rows, 3u, base + 3u * stride, factors.w); }
}

fn element(index: u32) {
    let at = min(params.first + index, params.count - 1u);
    let key_heads = params.heads / params.shared_by;
    let head = at % key_heads;
    let block = blocks[at / key_heads];
    let held = block.rows;
    let key = block.row * params.key4 + head * WIDTH4;
    let lower = vec4<i32>(block.lower) + vec4<i32>(0, 1, 2, 3);
    var keys: Rows4;
    load_keys(&keys, held, key, params.key4);
    var values: Rows4;
    load_values(&values, held, key, params.key4);
    var key_gradient: Rows4;
    var value_gradient: Rows4;
    for (var shared_head = 0u; shared_head < params.shared_by; shared_head += 1u) {
        let query_head = head * params.shared_by + shared_head;
        for (var i = u32(max(block.lower, 0)); i < block.queries; i += 1u) {
            let row = block.first_query + i;
            let place = row * params.query4 + query_head * WIDTH4;
            let s = stat(row, query_head);
            let sees = vec4<i32>(i32(i)) >= lower;
            let score = params.scale * key_dots(&keys, place) - s.x;
            let p = select(vec4<f32>(0.0), probability(score), sees);
            add_outs(&value_gradient, p, place);
            add_queries(&key_gradient, p * (value_dots(&values, place) - s.y), place);
        }
    }
    if (params.first + index < params.count) {
        store_dk_rows(&key_gradient, held, key, params.key4, vec4<f32>(params.scale));
        store_dv_rows(&value_gradient, held, key, params.key4, vec4<f32>(1.0));
    }
}

#import "common/elements.wgsl"
