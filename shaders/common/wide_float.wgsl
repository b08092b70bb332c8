// Floats with 64 bits of mantissa, made of integers: the same bits on every driver. A value is m 2^e, or its negative, with the upper bit of m
// set; zero has m = 0. Results are cut towards zero. The host twin is `host::wide_float`.

#import "common/wide.wgsl"

struct Wide {
    m: vec2<u32>,
    e: i32,
    // 1: below zero.
    s: u32,
}

const ONE: Wide = Wide(vec2<u32>(0u, 0x80000000u), -63, 0u);

fn wide_of(words: vec4<u32>) -> Wide {
    return Wide(words.xy, bitcast<i32>(words.z), words.w);
}

fn words_of(a: Wide) -> vec4<u32> {
    return vec4<u32>(a.m, bitcast<u32>(a.e), a.s);
}

fn is_zero(a: Wide) -> bool {
    return a.m.y == 0u;
}

fn less64(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.y < b.y || (a.y == b.y && a.x < b.x);
}

/// floor(a / 2^s), 0 <= s < 64, not signed.
fn shr64(a: vec2<u32>, s: u32) -> vec2<u32> {
    if (s >= 32u) {
        return vec2<u32>(a.y >> (s - 32u), 0u);
    }
    return vec2<u32>((a.x >> s) | ((a.y << 1u) << (31u - s)), a.y >> s);
}

fn normalised(m: vec2<u32>, e: i32, s: u32) -> Wide {
    let places = select(countLeadingZeros(m.y), 32u + countLeadingZeros(m.x), m.y == 0u);
    if (places == 64u) {
        return Wide(vec2<u32>(0u), 0, 0u);
    }
    return Wide(shl64(m, places), e - i32(places), s);
}

fn times(a: Wide, b: Wide) -> Wide {
    if (is_zero(a) || is_zero(b)) {
        return Wide(vec2<u32>(0u), 0, 0u);
    }
    let p00 = mul_wide(a.m.x, b.m.x);
    let m0 = add64(vec2<u32>(p00.y, 0u), mul_wide(a.m.x, b.m.y));
    let m1 = add64(vec2<u32>(m0.x, 0u), mul_wide(a.m.y, b.m.x));
    let high = add64(mul_wide(a.m.y, b.m.y), add64(vec2<u32>(m0.y, 0u), vec2<u32>(m1.y, 0u)));
    let e = a.e + b.e + 64;
    let s = a.s ^ b.s;
    if (high.y >= 0x80000000u) {
        return Wide(high, e, s);
    }
    return Wide(vec2<u32>((high.x << 1u) | (m1.x >> 31u), (high.y << 1u) | (high.x >> 31u)), e - 1, s);
}

fn plus(a: Wide, b: Wide) -> Wide {
    if (is_zero(a)) { return b; }
    if (is_zero(b)) { return a; }
    let swap = a.e < b.e || (a.e == b.e && less64(a.m, b.m));
    let large = Wide(select(a.m, b.m, swap), select(a.e, b.e, swap), select(a.s, b.s, swap));
    let small = select(b.m, a.m, swap);
    // Exponents may be far apart.
    let apart = min(u32(large.e - select(b.e, a.e, swap)), 64u);
    var moved = vec2<u32>(0u);
    if (apart < 64u) { moved = shr64(small, apart); }
    if (a.s != b.s) {
        return normalised(sub64(large.m, moved), large.e, large.s);
    }
    let sum = add64(large.m, moved);
    if (less64(sum, moved)) {
        return Wide(vec2<u32>((sum.x >> 1u) | (sum.y << 31u), (sum.y >> 1u) | 0x80000000u), large.e + 1, large.s);
    }
    return Wide(sum, large.e, large.s);
}

/// a 2^places.
fn moved(a: Wide, places: i32) -> Wide {
    return Wide(a.m, select(a.e + places, 0, is_zero(a)), a.s);
}

fn negative(a: Wide) -> Wide {
    return Wide(a.m, a.e, select(a.s ^ 1u, 0u, is_zero(a)));
}

fn magnitude(a: Wide) -> Wide {
    return Wide(a.m, a.e, 0u);
}

/// Of two that are not below zero, whether a is the lesser.
fn lesser(a: Wide, b: Wide) -> bool {
    if (is_zero(a) || is_zero(b)) { return !is_zero(b); }
    return a.e < b.e || (a.e == b.e && less64(a.m, b.m));
}

/// 1 / a, a not zero: Newton's method from a line, whose error of 1/17 is squared four times.
fn inverse(a: Wide) -> Wide {
    let x = Wide(a.m, -64, 0u);
    var r = plus(Wide(vec2<u32>(0xb4b4b4b4u, 0xb4b4b4b4u), -62, 0u), times(Wide(vec2<u32>(0xf0f0f0f0u, 0xf0f0f0f0u), -63, 1u), x));
    for (var i = 0u; i < 4u; i += 1u) {
        r = plus(r, times(r, plus(ONE, negative(times(x, r)))));
    }
    return Wide(r.m, r.e - (a.e + 64), a.s);
}

/// 1 / sqrt(a), a above zero: as `inverse`, from a line whose error is a ninth at most.
fn inverse_sqrt(a: Wide) -> Wide {
    // a = x 4^k with x from 1/4 to 1.
    let odd = (a.e & 1) != 0;
    let x = Wide(a.m, select(-64, -65, odd), 0u);
    let k = (a.e + select(64, 65, odd)) / 2;
    // 2.07 - 1.15 x
    var y = plus(Wide(vec2<u32>(0xae147ae1u, 0x847ae147u), -62, 0u), times(Wide(vec2<u32>(0x33333333u, 0x93333333u), -63, 1u), x));
    for (var i = 0u; i < 5u; i += 1u) {
        y = plus(y, moved(times(y, plus(ONE, negative(times(x, times(y, y))))), -1));
    }
    return Wide(y.m, y.e - k, 0u);
}
