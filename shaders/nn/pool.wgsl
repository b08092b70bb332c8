// Of each span of rows one row: the mean, the largest element of each column, or the sum over the square root of the number of rows.

#import "common/nan.wgsl"

struct Params {
    // Vectors of the result, and of a row.
    count: u32,
    width4: u32,
    // 0: mean, 1: largest, 2: sum over the root.
    kind: u32,
    // Spans, which the host twin reads.
    spans: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
// First row, and rows: one at least.
@group(0) @binding(2) var<storage, read> spans: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

fn largest(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return keep_nan4(keep_nan4(max(a, b), b), a);
}

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let span = spans[at / params.width4];
    let first = span.x * params.width4 + at % params.width4;
    var total = x[first];
    for (var i = 1u; i < span.y; i += 1u) {
        let next = x[first + i * params.width4];
        if (params.kind == 1u) {
            total = largest(total, next);
        } else {
            total += next;
        }
    }
    let rows = f32(span.y);
    if (params.kind == 0u) { total = total / rows; }
    if (params.kind == 2u) { total = total / sqrt(rows); }
    if (index < params.count) { y[index] = total; }
}

#import "common/elements.wgsl"
