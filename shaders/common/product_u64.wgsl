// 32 x 32 -> 64-bit products and sums of them with the adapter's own 64-bit integers.

fn mul_wide(a: u32, b: u32) -> vec2<u32> {
    let p = u64(a) * u64(b);
    return vec2<u32>(u32(p & 0xfffffffflu), u32(p >> 32u));
}

/// Four 64-bit sums.
struct Sum4 {
    value: vec4<u64>,
}

/// a + floor(x^2 / 2^16), x not negative.
fn add_squares(a: Sum4, x: vec4<u32>) -> Sum4 {
    let wide = vec4<u64>(x);
    return Sum4(a.value + ((wide * wide) >> vec4<u32>(16u)));
}

/// a + x v / 2^16, each product cut towards zero.
fn add_products(a: Sum4, x: vec4<i32>, v: vec4<i32>) -> Sum4 {
    let p = (vec4<u64>(vec4<u32>(abs(x))) * vec4<u64>(vec4<u32>(abs(v)))) >> vec4<u32>(16u);
    // -p = (p ^ sign) - sign
    let sign = bitcast<vec4<u64>>(vec4<i64>((x ^ v) >> vec4<u32>(31u)));
    return Sum4(a.value + ((p ^ sign) - sign));
}

/// a + x w / 2^s, rounded half up, 0 <= w < 2^31, s <= 29.
fn add_weighted(a: Sum4, x: vec4<i32>, w: u32, s: u32) -> Sum4 {
    // Made positive before the shift, which CPUs have for unsigned 64-bit lanes only.
    let offset = 0x4000000000000000lu + ((1lu << s) >> 1u);
    let magnitude = vec4<u64>(vec4<u32>(abs(x))) * vec4<u64>(u64(w));
    let sign = bitcast<vec4<u64>>(vec4<i64>(x >> vec4<u32>(31u)));
    let p = (magnitude ^ sign) - sign;
    let shifted = (p + vec4<u64>(offset)) >> vec4<u32>(s);
    return Sum4(a.value + (shifted - vec4<u64>(0x4000000000000000lu >> s)));
}

fn no_sum4() -> Sum4 {
    return Sum4(vec4<u64>(0lu));
}

/// Sum k as (low, high).
fn sum4_words(a: Sum4, k: u32) -> vec2<u32> {
    return vec2<u32>(u32(a.value[k] & 0xfffffffflu), u32(a.value[k] >> 32u));
}
