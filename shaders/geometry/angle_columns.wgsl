// The columns of [R; C] as wide floats: R = B - A C, of exact sums, and C; beneath, where singular vectors are asked for, those of the identity.
// Formats: `kernels::geometry::angles`.

struct Params {
    // Rows of R, of C, and columns of both.
    rows: u32,
    cross_rows: u32,
    columns: u32,
    // Numbers from one row of the sums to the next.
    stride: u32,
    // Rows of the identity: none, or as many as columns.
    identity: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [rows, stride] of 128 bits in 2^-120: A C.
@group(0) @binding(1) var<storage, read> inside: array<vec4<u32>>;
// [cross_rows, stride]: C.
@group(0) @binding(2) var<storage, read> cross_sums: array<vec4<u32>>;
// [columns, rows] of 64 bits in 2^-60: B.
@group(0) @binding(3) var<storage, read> b: array<vec2<u32>>;
// [columns, rows + cross_rows + identity].
@group(0) @binding(4) var<storage, read_write> columns: array<vec4<u32>>;

#import "common/wide_float.wgsl"

/// -x.
fn opposite(x: vec4<u32>) -> vec4<u32> {
    let low = sub64(vec2<u32>(0u), x.xy);
    let borrow = select(0u, 1u, (x.x | x.y) != 0u);
    return vec4<u32>(low, sub64(sub64(vec2<u32>(0u), x.zw), vec2<u32>(borrow, 0u)));
}

/// x 2^60 - y.
fn difference(x: vec2<u32>, y: vec4<u32>) -> vec4<u32> {
    let low = vec2<u32>(0u, x.x << 28u);
    let high = sar64(x, 4u);
    let borrow = select(0u, 1u, less64(low, y.xy));
    return vec4<u32>(sub64(low, y.xy), sub64(sub64(high, y.zw), vec2<u32>(borrow, 0u)));
}

/// The upper 64 bits of a number's magnitude, in units of 2^-120.
fn wide_of_sum(sum: vec4<u32>) -> Wide {
    let s = sum.w >> 31u;
    var size = sum;
    if (s == 1u) { size = opposite(sum); }
    if ((size.z | size.w) == 0u) {
        return normalised(size.xy, -120, s);
    }
    let places = select(countLeadingZeros(size.w), 32u + countLeadingZeros(size.z), size.w == 0u);
    var m = size.zw;
    if (places > 0u) { m = shl64(size.zw, places) | shr64(size.xy, 64u - places); }
    return Wide(m, -120 + 64 - i32(places), s);
}

fn element(index: u32) {
    let within = params.rows + params.cross_rows;
    let all = within + params.identity;
    if (index >= params.columns * all) {
        return;
    }
    let column = index / all;
    let row = index % all;
    var found: Wide;
    if (row < params.rows) {
        found = wide_of_sum(difference(b[column * params.rows + row], inside[row * params.stride + column]));
    } else if (row < within) {
        found = wide_of_sum(cross_sums[(row - params.rows) * params.stride + column]);
    } else if (row - within == column) {
        found = ONE;
    }
    columns[index] = words_of(found);
}

#import "common/elements.wgsl"
