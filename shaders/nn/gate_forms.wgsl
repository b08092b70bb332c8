// What a gate is passed through, and its derivative.

#import "nn/sigmoid.wgsl"
#import "nn/gelu_forms.wgsl"

// 0: x sigmoid(x), 1: GELU of the form that FORM says, 2: the larger of x and 0, 3: tanh.
override ACT: u32 = 0u;

fn relu(x: vec4<f32>) -> vec4<f32> {
    return keep_nan4(max(x, vec4<f32>(0.0)), x);
}

// Drivers' own may overflow.
fn hyperbolic(x: vec4<f32>) -> vec4<f32> {
    return 2.0 * sigmoid(2.0 * x) - 1.0;
}

fn activated(x: vec4<f32>) -> vec4<f32> {
    if (ACT == 0u) { return x * sigmoid(x); }
    if (ACT == 2u) { return relu(x); }
    if (ACT == 3u) { return hyperbolic(x); }
    return gelu(x);
}

// The value and the derivative.
fn activated_with_slope(x: vec4<f32>) -> array<vec4<f32>, 2> {
    if (ACT == 0u) {
        let s = sigmoid(x);
        return array<vec4<f32>, 2>(x * s, s * (1.0 + x * (1.0 - s)));
    }
    if (ACT == 2u) {
        let above = select(vec4<f32>(0.0), vec4<f32>(1.0), x > vec4<f32>(0.0));
        return array<vec4<f32>, 2>(relu(x), keep_nan4(above, x));
    }
    if (ACT == 3u) {
        let t = hyperbolic(x);
        return array<vec4<f32>, 2>(t, 1.0 - t * t);
    }
    return array<vec4<f32>, 2>(gelu(x), gelu_slope(x));
}
