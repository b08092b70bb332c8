// What the gradients of attention know of each row and head, two pairs to an entry.

#import "nn/attention_params.wgsl"
#import "operand" 5
#import "common/nan.wgsl"

// Log-sum-exp and dout . out of a row's head.
fn stat(row: u32, head: u32) -> vec2<f32> {
    let at = row * params.heads + head;
    let pair = read5(at / 2u);
    return select(pair.xy, pair.zw, (at & 1u) == 1u);
}

// A probability from its logarithm, which but for rounding is 0 at most.
fn probability(logarithm: vec4<f32>) -> vec4<f32> {
    return keep_nan4(exp(min(logarithm, vec4<f32>(0.0))), logarithm);
}
