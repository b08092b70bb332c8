// Dynamic quantisation to 8 bits (Dettmers et al. 2022, arXiv 2110.02861): decades of numbers from 1e-7 on, each with twice as many steps
// as the one below. With u = 2^e + k, 0 <= k < 2^e, the step u stands for unit 5^e (18 u + 9 - 16 2^e): the middle of the k-th
// of 2^e parts of its decade. The first moment's byte is u with a sign, below 128, the second's is u - 1; 0 is 0, and one byte is 1.

const FIRST_UNIT: f32 = 5e-8;
const SECOND_UNIT: f32 = 5e-9;

/// 5^e, e below 8.
fn fives(e: vec4<u32>) -> vec4<f32> {
    let zero = vec4<u32>(0u);
    let low = select(vec4<f32>(1.0), vec4<f32>(5.0), (e & vec4<u32>(1u)) != zero);
    let middle = select(vec4<f32>(1.0), vec4<f32>(25.0), (e & vec4<u32>(2u)) != zero);
    return low * middle * select(vec4<f32>(1.0), vec4<f32>(625.0), (e & vec4<u32>(4u)) != zero);
}

/// What the steps u, 1 to 255, stand for. Integers as floats, exact in any order, and then two roundings.
fn step_values(u: vec4<u32>, unit: f32) -> vec4<f32> {
    let x = vec4<f32>(u);
    let bits = bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u);
    let e = (bits >> vec4<u32>(23u)) - vec4<u32>(127u);
    return unit * (fives(e) * (18.0 * x + 9.0 - 16.0 * bitcast<vec4<f32>>(bits)));
}

/// The step of the e-th decade that is nearest to y.
fn nearest_steps(y: vec4<f32>, e: vec4<u32>, unit: f32) -> vec4<u32> {
    let power = bitcast<vec4<f32>>((e + vec4<u32>(127u)) << vec4<u32>(23u));
    let place = y * (1.0 / (18.0 * unit)) / fives(e) + (power * (16.0 / 18.0) - 0.5);
    return vec4<u32>(round(clamp(place, power, 2.0 * power - 1.0)));
}

fn decades_from(y: vec4<f32>, threshold: f32) -> vec4<u32> {
    return select(vec4<u32>(0u), vec4<u32>(1u), y >= vec4<f32>(threshold));
}

/// First moments over their block's largest magnitude.
fn first_values(word: u32) -> vec4<f32> {
    let bytes = bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
    let u = vec4<u32>(abs(bytes));
    let value = select(step_values(u, FIRST_UNIT), vec4<f32>(0.0), u == vec4<u32>(0u));
    // -128 would be the most negative number; its byte is that of 1.
    return select(select(value, -value, bytes < vec4<i32>(0)), vec4<f32>(1.0), u == vec4<u32>(128u));
}

/// The nearest bytes for first moments over their block's largest magnitude.
fn first_bytes(x: vec4<f32>) -> u32 {
    let y = abs(x);
    // Half of the smallest step, then halfway between the last of a decade and the first of the next.
    let decades = decades_from(y, 2.75e-7) + decades_from(y, 1.9e-6) + decades_from(y, 1.45e-5) + decades_from(y, 1.225e-4)
        + decades_from(y, 1.1125e-3) + decades_from(y, 1.05625e-2) + decades_from(y, 1.028125e-1);
    let e = max(decades, vec4<u32>(1u)) - vec4<u32>(1u);
    let u = select(nearest_steps(y, e, FIRST_UNIT), vec4<u32>(0u), decades == vec4<u32>(0u));
    let signed = select(u, vec4<u32>(0u) - u, x < vec4<f32>(0.0)) & vec4<u32>(255u);
    let bytes = select(signed, vec4<u32>(128u), x >= vec4<f32>(0.9964844));
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

/// Second moments over their block's largest.
fn second_values(word: u32) -> vec4<f32> {
    let bytes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
    let value = step_values(min(bytes + vec4<u32>(1u), vec4<u32>(255u)), SECOND_UNIT);
    let less = select(value, vec4<f32>(0.0), bytes == vec4<u32>(0u));
    return select(less, vec4<f32>(1.0), bytes == vec4<u32>(255u));
}

/// The nearest bytes for second moments over their block's largest; the smallest step for what is nearer to zero, but zero itself: a
/// second moment that is lost would make the next step of its parameter as long as can be.
fn second_bytes(y: vec4<f32>) -> u32 {
    let decades = decades_from(y, 1.45e-6) + decades_from(y, 1.225e-5) + decades_from(y, 1.1125e-4)
        + decades_from(y, 1.05625e-3) + decades_from(y, 1.028125e-2) + decades_from(y, 1.0140625e-1);
    let u = nearest_steps(y, decades + vec4<u32>(1u), SECOND_UNIT);
    let some = select(u - vec4<u32>(1u), vec4<u32>(0u), y <= vec4<f32>(0.0));
    let bytes = select(some, vec4<u32>(255u), y >= vec4<f32>(0.9982422));
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}
