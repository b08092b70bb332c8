// 32 x 32 -> 64-bit products from 16-bit halves, and sums of them as pairs of words: for adapters without 64-bit integers.

fn mul_wide(a: u32, b: u32) -> vec2<u32> {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let ll = al * bl;
    let hl = ah * bl;
    let middle = al * bh + (ll >> 16u) + (hl & 0xffffu);
    return vec2<u32>((middle << 16u) | (ll & 0xffffu), ah * bh + (hl >> 16u) + (middle >> 16u));
}


/// Four 64-bit sums.
struct Sum4 {
    low: vec4<u32>,
    high: vec4<u32>,
}

fn mul_wide4(a: vec4<u32>, b: vec4<u32>) -> Sum4 {
    let half = vec4<u32>(16u);
    let mask = vec4<u32>(0xffffu);
    let al = a & mask;
    let ah = a >> half;
    let bl = b & mask;
    let bh = b >> half;
    let ll = al * bl;
    let hl = ah * bl;
    let middle = al * bh + (ll >> half) + (hl & mask);
    return Sum4((middle << half) | (ll & mask), ah * bh + (hl >> half) + (middle >> half));
}

fn add_sum4(a: Sum4, low: vec4<u32>, high: vec4<u32>) -> Sum4 {
    let sum = a.low + low;
    return Sum4(sum, a.high + high + select(vec4<u32>(0u), vec4<u32>(1u), sum < low));
}

/// a + floor(x^2 / 2^16), x not negative.
fn add_squares(a: Sum4, x: vec4<u32>) -> Sum4 {
    let half = vec4<u32>(16u);
    let p = mul_wide4(x, x);
    return add_sum4(a, (p.low >> half) | (p.high << half), p.high >> half);
}

/// a + x v / 2^16, each product cut towards zero.
fn add_products(a: Sum4, x: vec4<i32>, v: vec4<i32>) -> Sum4 {
    let half = vec4<u32>(16u);
    let p = mul_wide4(vec4<u32>(abs(x)), vec4<u32>(abs(v)));
    // -p = (p ^ sign) + 1
    let sign = bitcast<vec4<u32>>((x ^ v) >> vec4<u32>(31u));
    let low = ((p.low >> half) | (p.high << half)) ^ sign;
    let one = sign & vec4<u32>(1u);
    return add_sum4(add_sum4(a, low, (p.high >> half) ^ sign), one, vec4<u32>(0u));
}

/// a + x w / 2^s, rounded half up, 0 <= w < 2^31, s <= 29.
fn add_weighted(a: Sum4, x: vec4<i32>, w: u32, s: u32) -> Sum4 {
    // The signed product: of the two's complement, less w 2^32 where x is negative.
    var p = mul_wide4(bitcast<vec4<u32>>(x), vec4<u32>(w));
    p.high -= bitcast<vec4<u32>>(x >> vec4<u32>(31u)) & vec4<u32>(w);
    p = add_sum4(p, vec4<u32>((1u << s) >> 1u), vec4<u32>(0u));
    let low = (p.low >> vec4<u32>(s)) | ((p.high << vec4<u32>(1u)) << vec4<u32>(31u - s));
    return add_sum4(a, low, bitcast<vec4<u32>>(bitcast<vec4<i32>>(p.high) >> vec4<u32>(s)));
}

fn no_sum4() -> Sum4 {
    return Sum4(vec4<u32>(0u), vec4<u32>(0u));
}

/// Sum k as (low, high).
fn sum4_words(a: Sum4, k: u32) -> vec2<u32> {
    return vec2<u32>(a.low[k], a.high[k]);
}
