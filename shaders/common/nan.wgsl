// A NaN comes through: WGSL lets `min`, `max`, `clamp` and the exponential of a driver drop it, and comparisons take it for a number, so
// its bits decide.

fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// `value`, which was made of `x`, or the NaN that `x` is.
fn keep_nan4(value: vec4<f32>, x: vec4<f32>) -> vec4<f32> {
    return select(value, x, is_nan4(x));
}

fn keep_nan(value: f32, x: f32) -> f32 {
    return select(value, x, is_nan(x));
}
