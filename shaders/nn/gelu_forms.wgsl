// GELU and its derivative, exact (erf), by tanh and by the logistic function, of any x: a NaN gives one.

#import "common/nan.wgsl"

// 0: erf, 1: tanh, 2: x sigmoid(1.702 x).
override FORM: u32 = 0u;

// Normal distribution function: the complementary error function of Numerical Recipes, of relative error 1.2e-7.
fn normal_cdf(x: vec4<f32>) -> vec4<f32> {
    let a = min(abs(x), vec4<f32>(30.0));
    let t = 1.0 / (1.0 + 0.35355339 * a);
    var p = -0.82215223 + t * 0.17087277;
    p = 1.48851587 + t * p;
    p = -1.13520398 + t * p;
    p = 0.27886807 + t * p;
    p = -0.18628806 + t * p;
    p = 0.09678418 + t * p;
    p = 0.37409196 + t * p;
    p = 1.00002368 + t * p;
    let tail = 0.5 * t * exp(-0.5 * a * a + (-1.26551223 + t * p));
    return select(tail, 1.0 - tail, x > vec4<f32>(0.0));
}

// The logistic function of 2 u, u = sqrt(2 / pi) (x + 0.044715 x^3), is (1 + tanh u) / 2; it has saturated at 10.
fn tanh_gate(x: vec4<f32>) -> vec4<f32> {
    let a = clamp(x, vec4<f32>(-10.0), vec4<f32>(10.0));
    let twice_u = a * (1.5957691 + 0.071354816 * a * a);
    return 1.0 / (1.0 + exp(-max(twice_u, vec4<f32>(-80.0))));
}

fn quick_gate(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-max(1.702 * x, vec4<f32>(-80.0))));
}

fn gelu(x: vec4<f32>) -> vec4<f32> {
    if (FORM == 1u) { return x * tanh_gate(x); }
    if (FORM == 2u) { return x * quick_gate(x); }
    return x * normal_cdf(x);
}

fn gelu_slope(x: vec4<f32>) -> vec4<f32> {
    return keep_nan4(finite_slope(x), x);
}

fn finite_slope(x: vec4<f32>) -> vec4<f32> {
    let a = clamp(x, vec4<f32>(-30.0), vec4<f32>(30.0));
    if (FORM == 1u) {
        let gate = tanh_gate(x);
        return gate + a * gate * (1.0 - gate) * (1.5957691 + 0.21406445 * a * a);
    }
    if (FORM == 2u) {
        let gate = quick_gate(x);
        return gate + 1.702 * a * gate * (1.0 - gate);
    }
    return normal_cdf(x) + a * 0.39894228 * exp(-0.5 * a * a);
}
