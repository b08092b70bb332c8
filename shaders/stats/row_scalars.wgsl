// From a row's peak, sum of squares and dots to its weight in the sums; proofs in `kernels::stats::moments`. Whoever
// imports this has `params`, `sums` and `count`, which adds to one of the tail's counters.

// Vectors of the operator: known to the compiler, so that a pass without them carries no code for them.
override VECTORS: u32 = 0u;
const MAX_VECTORS: u32 = 9u;

// The pass's constants, see `gram`.
@group(0) @binding(3) var<storage, read> constants: array<vec2<u32>>;
#import "common/fixed_point.wgsl"

/// The power of two that brings the peak into [2^30, 2^31).
fn fixed_scale(bits: u32) -> f32 {
    return bitcast<f32>((284u - (bits >> 23u)) << 23u); // 2^(30 - e), e = (bits >> 23) - 127
}

const TINY: u32 = 0x21800000u; // 2^-60: a row below it has norm below 1e-10 at any width we accept

// Constants, in this order: a, 2a, a^2 + |b|^2, |b|^2 as Q56; then the Gram matrix [vectors, vectors] as Q56; then the
// vectors' exponents.
fn gram(i: u32, k: u32) -> vec2<u32> {
    return constants[4u + i * VECTORS + k];
}

/// 1 / sqrt(n2) as Q40 from Q56; below 2^-40 the row is left unscaled, as the published script leaves rows below 1e-10.
fn inverse_norm(n2: vec2<u32>) -> vec2<u32> {
    if (bitcast<i32>(n2.y) < 0 || (n2.y == 0u && n2.x < 0x10000u)) {
        return vec2<u32>(0u, 256u); // 1.0
    }
    let up = even_shift(n2);
    let root = inverse_root(shl64(n2, up));
    return shl64(vec2<u32>(root.w, 0u), up / 2u + 7u);
}

struct Coefficients {
    row: vec2<u32>,
    vector: array<vec2<u32>, MAX_VECTORS>,
}

/// The operator's coefficients for one row, Q40: project a u + v_0, then for each further vector shift by it and project.
fn coefficients(dots: ptr<function, array<vec2<u32>, MAX_VECTORS>>, w: u32, places: u32) -> Coefficients {
    var out: Coefficients;
    var t: array<vec2<u32>, MAX_VECTORS>;
    for (var k = 0u; k < VECTORS; k += 1u) {
        let exponent = constants[4u + VECTORS * VECTORS + k].x;
        t[k] = mul_shift((*dots)[k], vec2<u32>(w, 0u), exponent + places - 32u);
    }
    let a = select(constants[0], vec2<u32>(0u), w == 0u);
    var n2 = select(constants[2], constants[3], w == 0u);
    n2 = add64(n2, mul_shift(constants[1], t[0], 56u));
    out.vector[0] = inverse_norm(n2);
    out.row = mul_shift(a, out.vector[0], 56u);
    for (var k = 1u; k < VECTORS; k += 1u) {
        var dot = mul_shift(out.row, t[k], 40u);
        for (var i = 0u; i < k; i += 1u) {
            dot = add64(dot, mul_shift(out.vector[i], gram(i, k), 40u));
        }
        n2 = add64(add64(vec2<u32>(0u, 0x1000000u), shl64(dot, 1u)), gram(k, k));
        let inverse = inverse_norm(n2);
        out.row = mul_shift(out.row, inverse, 40u);
        for (var i = 0u; i < k; i += 1u) {
            out.vector[i] = mul_shift(out.vector[i], inverse, 40u);
        }
        out.vector[k] = inverse;
    }
    return out;
}

/// A row's elements count x_j weight 2^-(40 + shift).
struct RowScalars {
    weight: u32,
    shift: u32,
}

/// Weight and shift of one row from its peak, its sum of squares `s` and its dots with the vectors; counters of the row.
fn row_scalars(row: u32, bits: u32, s: vec2<u32>, dots: ptr<function, array<vec2<u32>, MAX_VECTORS>>) -> RowScalars {
    if (bits >= 0x7f800000u) {
        // The least bad row wins; zero means none.
        atomicMax(&sums[8u * params.width4 + 4u], 0xffffffffu - (params.row_base + row));
        return RowScalars(0u, 0u);
    }
    // u_j = x_j w 2^-(40 + places), w of 31 bits.
    var w = 0u;
    var places = 21u;
    if (bits >= TINY && !norm_is_tiny(s, bits)) {
        let up = even_shift(s);
        let root = inverse_root(shl64(s, up));
        w = root.w;
        places = 29u - up / 2u;
        count(0u, vec2<u32>(1u, 0u));
        count(1u, sar128(root.rest, 62u));
    }
    if (VECTORS == 0u) {
        return RowScalars(w, places);
    }
    let c = coefficients(dots, w, places);
    for (var k = 0u; k < VECTORS; k += 1u) {
        count(4u + 2u * k, vec2<u32>(c.vector[k].x & 0xfffffu, 0u));
        count(5u + 2u * k, sar64(c.vector[k], 20u));
    }
    return weight_of(mul128(c.row, vec2<u32>(w, 0u)), places);
}

/// |row| < 1e-10, decided over the integers.
fn norm_is_tiny(s: vec2<u32>, bits: u32) -> bool {
    let e = i32(bits >> 23u) - 127;
    if (e >= -33) { return false; }
    if (e < -41) { return true; }
    // 1e-20 in units of s for e = -34, times 4 for each step down.
    let limit = shl64(vec2<u32>(LIMIT_LOW, LIMIT_HIGH), 2u * u32(-34 - e));
    return s.y < limit.y || (s.y == limit.y && s.x < limit.x);
}

// floor(1e-20 * 2^112): 1e-20 = s 2^16 4^(e - 30) at e = -34.
const LIMIT_LOW: u32 = 0x42192484u;
const LIMIT_HIGH: u32 = 0x2f39u;

/// A row's multiplier: the 31 upper bits of `product` (a Q40 number times w), and by how much the products shift right.
fn weight_of(product: vec4<u32>, places: u32) -> RowScalars {
    let top = sar128(product, 40u);
    let bits = 64u - select(countLeadingZeros(top.y), 32u + countLeadingZeros(top.x), top.y == 0u);
    let excess = min(max(bits, 31u) - 31u, places);
    let rounded = add64(sar128(product, 39u + excess), vec2<u32>(1u, 0u));
    return RowScalars(min(sar64(rounded, 1u).x, 0x7fffffffu), places - excess);
}
