// Fixed-point arithmetic of one row's scalars: every result is defined over the integers, so that it has the same bits
// on every driver. The host twin is `host::fixed_point`.

#import "common/wide.wgsl"

/// Signed product of two 64-bit integers, 128 bits.
fn mul128(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
    let p00 = mul_wide(a.x, b.x);
    let p01 = mul_wide(a.x, b.y);
    let p10 = mul_wide(a.y, b.x);
    let p11 = mul_wide(a.y, b.y);
    let m0 = add64(vec2<u32>(p00.y, 0u), p01);
    let m1 = add64(vec2<u32>(m0.x, 0u), p10);
    var high = add64(p11, add64(vec2<u32>(m0.y, 0u), vec2<u32>(m1.y, 0u)));
    if ((a.y & 0x80000000u) != 0u) { high = sub64(high, b); }
    if ((b.y & 0x80000000u) != 0u) { high = sub64(high, a); }
    return vec4<u32>(p00.x, m1.x, high.x, high.y);
}

/// Low 64 bits of floor(v / 2^s), 0 <= s < 128, v signed.
fn sar128(v: vec4<u32>, s: u32) -> vec2<u32> {
    if (s >= 64u) {
        return sar64(v.zw, s - 64u);
    }
    if (s == 0u) {
        return v.xy;
    }
    // Bits from the upper half enter at 64 - s.
    let upper = shl64(v.zw, 64u - s);
    var low = sar64(v.xy, s);
    if (s >= 32u) {
        low = vec2<u32>(low.x & ((0xffffffffu >> (s - 32u))), 0u);
    } else {
        low.y = low.y & (0xffffffffu >> s);
    }
    return low | upper;
}

/// floor(a b / 2^s), which must fit 64 bits.
fn mul_shift(a: vec2<u32>, b: vec2<u32>, s: u32) -> vec2<u32> {
    return sar128(mul128(a, b), s);
}

fn less128(a: vec4<u32>, b: vec4<u32>) -> bool {
    if (a.w != b.w) { return a.w < b.w; }
    if (a.z != b.z) { return a.z < b.z; }
    if (a.y != b.y) { return a.y < b.y; }
    return a.x < b.x;
}

fn sub128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let low = sub64(a.xy, b.xy);
    var high = sub64(a.zw, b.zw);
    let borrow = a.y < b.y || (a.y == b.y && a.x < b.x);
    if (borrow) { high = sub64(high, vec2<u32>(1u, 0u)); }
    return vec4<u32>(low, high);
}

/// w^2 v, 128 bits.
fn square_times(w: u32, v: vec2<u32>) -> vec4<u32> {
    return mul128(mul_wide(w, w), v);
}

fn add128(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let low = add64(a.xy, b.xy);
    let carry = low.y < a.y || (low.y == a.y && low.x < a.x);
    return vec4<u32>(low, add64(add64(a.zw, b.zw), vec2<u32>(select(0u, 1u, carry), 0u)));
}

struct InverseRoot {
    /// 2^61 / sqrt(v), rounded to nearest, at most 2^31 - 1.
    w: u32,
    /// 4^61 - w^2 v, signed.
    rest: vec4<u32>,
}

/// For 2^60 <= v < 2^62. The float estimate may differ by driver; what is returned is defined over the integers.
fn inverse_root(v: vec2<u32>) -> InverseRoot {
    let one = vec4<u32>(0u, 0u, 0u, 1u << 26u); // 4^61
    let estimate = 2305843009213693952.0 * inverseSqrt(f32(v.y) * 4294967296.0 + f32(v.x)); // 2^61
    var w = u32(clamp(estimate, 1.0, 2147483520.0));
    // One Newton step on the exact remainder: 21 correct bits become more than 31.
    let p = square_times(w, v);
    let above = less128(one, p);
    let error = select(sub128(one, p), sub128(p, one), above);
    let size = f32(error.w) * 4294967296.0 + f32(error.z) + f32(error.y) * 2.3283064365386963e-10; // in units of 2^64
    let step = u32(round(size * 8.0 * (f32(w) * 2.168404344971009e-19))); // size 2^64 w / 2^123
    w = min(select(w + step, w - min(step, w), above), 0x7fffffffu);
    for (var i = 0u; i < 4u && less128(one, square_times(w, v)); i += 1u) { w -= 1u; }
    for (var i = 0u; i < 4u && w < 0x7fffffffu && !less128(one, square_times(w + 1u, v)); i += 1u) { w += 1u; }
    // w is the floor. Up, if the remainder exceeds that of w + 1/2.
    let rest = sub128(one, square_times(w, v));
    let half = add128(mul128(vec2<u32>(w, 0u), v), vec4<u32>(sar64(v, 2u), 0u, 0u));
    if (w < 0x7fffffffu && less128(half, rest)) {
        w += 1u;
    }
    return InverseRoot(w, sub128(one, square_times(w, v)));
}

/// The even number of places that brings 0 < v < 2^62 into [2^60, 2^62).
fn even_shift(v: vec2<u32>) -> u32 {
    let zeros = select(countLeadingZeros(v.y), 32u + countLeadingZeros(v.x), v.y == 0u);
    return (zeros - 1u) & ~1u;
}
