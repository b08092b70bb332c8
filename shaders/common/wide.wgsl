// 64-bit two's-complement integers as (low, high) words, on top of `mul_wide` from a `product_*` file.

#import "product"

fn add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn sub64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

/// floor(a / 2^s), 0 <= s < 64, signed.
fn sar64(a: vec2<u32>, s: u32) -> vec2<u32> {
    let high = bitcast<i32>(a.y);
    if (s >= 32u) {
        return vec2<u32>(bitcast<u32>(high >> (s - 32u)), bitcast<u32>(high >> 31u));
    }
    // Two shifts, for a shift by 32 is undefined.
    let low = (a.x >> s) | ((a.y << 1u) << (31u - s));
    return vec2<u32>(low, bitcast<u32>(high >> s));
}

fn shl64(a: vec2<u32>, s: u32) -> vec2<u32> {
    if (s >= 32u) {
        return vec2<u32>(0u, a.x << (s - 32u));
    }
    return vec2<u32>(a.x << s, (a.y << s) | ((a.x >> 1u) >> (31u - s)));
}

/// The sum of the four.
fn fold_sum4(a: Sum4) -> vec2<u32> {
    return add64(add64(sum4_words(a, 0u), sum4_words(a, 1u)), add64(sum4_words(a, 2u), sum4_words(a, 3u)));
}
