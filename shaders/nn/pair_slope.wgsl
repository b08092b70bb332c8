// What the sigmoid loss and its gradient share.

// 1 for a row's own column, -1 for others.
fn sign_of(place: vec4<u32>, row: u32) -> vec4<f32> {
    return select(vec4<f32>(-1.0), vec4<f32>(1.0), place == vec4<u32>(row));
}

// The derivative of log(1 + exp(-v)) by z, v = sign z.
fn slope_of(v: vec4<f32>, sign: vec4<f32>) -> vec4<f32> {
    return -sign * sigmoid(-v);
}

#import "nn/sigmoid.wgsl"
