// What a gate is passed through, and its derivative.

#import "nn/sigmoid.wgsl"
#import "nn/gelu_forms.wgsl"

// 0: x sigmoid(x), else GELU of the form that FORM says.
override ACT: u32 = 0u;

fn activated(x: vec4<f32>) -> vec4<f32> {
    if (ACT == 0u) { return x * sigmoid(x); }
    return gelu(x);
}

// The value and the derivative.
fn activated_with_slope(x: vec4<f32>) -> array<vec4<f32>, 2> {
    if (ACT == 0u) {
        let s = sigmoid(x);
        return array<vec4<f32>, 2>(x * s, s * (1.0 + x * (1.0 - s)));
    }
    return array<vec4<f32>, 2>(gelu(x), gelu_slope(x));
}
