// Adds the products of one slice of A with the five of B to sums of 128 bits, exactly. Formats and proofs: `kernels::linalg::slices`.

struct Params {
    // Rows of sums, and of the products of one slice of B.
    rows: u32,
    // Vectors of four columns.
    width4: u32,
    // The products count 2^shift, 0 to 100.
    shift: u32,
    // 1: sums below the diagonal are left alone.
    upper: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [5, rows, width4]: whole numbers of up to 24 bits.
@group(0) @binding(1) var<storage, read> products: array<vec4<f32>>;
// [rows, width4].
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<u32>>;

#import "common/integer128.wgsl"

/// 512 times an integer of 64 bits, low word first, and another of 32.
fn next_slice(high: vec2<u32>, low: i32) -> vec2<u32> {
    let sum = (high.x << 9u) + bitcast<u32>(low);
    let carry = u32(sum < bitcast<u32>(low));
    return vec2<u32>(sum, ((high.y << 9u) | (high.x >> 23u)) + bitcast<u32>(low >> 31u) + carry);
}

/// An integer of 64 bits at its place; what lies above 128 bits is its sign.
fn placed(number: vec2<u32>) -> vec4<u32> {
    let sign = bitcast<u32>(bitcast<i32>(number.y) >> 31u);
    let bits = params.shift % 32u;
    let whole = vec4<u32>(number, sign, sign);
    // In two shifts, for one by 32 bits is none.
    let below = (vec4<u32>(0u, whole.xyz) >> vec4<u32>(1u)) >> vec4<u32>(31u - bits);
    let moved = (whole << vec4<u32>(bits)) | below;
    switch params.shift / 32u {
        case 0u: { return moved; }
        case 1u: { return vec4<u32>(0u, moved.xyz); }
        case 2u: { return vec4<u32>(0u, 0u, moved.xy); }
        default: { return vec4<u32>(0u, 0u, 0u, moved.x); }
    }
}

/// The sum of one place's products, of the lowest slice of B first.
fn joined(s0: f32, s1: f32, s2: f32, s3: f32, s4: f32) -> vec4<u32> {
    let highest = i32(s4);
    var number = vec2<u32>(bitcast<u32>(highest), bitcast<u32>(highest >> 31u));
    number = next_slice(number, i32(s3));
    number = next_slice(number, i32(s2));
    number = next_slice(number, i32(s1));
    number = next_slice(number, i32(s0));
    return placed(number);
}

fn add_to(at: u32, number: vec4<u32>) {
    sums[at] = integer128_plus(sums[at], number);
}

fn element(index: u32) {
    let plane = params.rows * params.width4;
    let at = min(index, plane - 1u);
    let row = at / params.width4;
    let column = 4u * (at % params.width4);
    let s0 = products[at];
    let s1 = products[plane + at];
    let s2 = products[2u * plane + at];
    let s3 = products[3u * plane + at];
    let s4 = products[4u * plane + at];
    // Columns before this one of the four lie below the diagonal.
    let first = select(0u, max(row, column) - column, params.upper == 1u);
    if (index < plane) {
        if (first == 0u) { add_to(4u * at, joined(s0.x, s1.x, s2.x, s3.x, s4.x)); }
        if (first <= 1u) { add_to(4u * at + 1u, joined(s0.y, s1.y, s2.y, s3.y, s4.y)); }
        if (first <= 2u) { add_to(4u * at + 2u, joined(s0.z, s1.z, s2.z, s3.z, s4.z)); }
        if (first <= 3u) { add_to(4u * at + 3u, joined(s0.w, s1.w, s2.w, s3.w, s4.w)); }
    }
}

#import "common/elements.wgsl"
