// The logistic function: the exponential must not overflow. Of a NaN it is one.

#import "common/nan.wgsl"

fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    return keep_nan4(1.0 / (1.0 + exp(-max(x, vec4<f32>(-80.0)))), x);
}
