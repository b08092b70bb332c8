// What both kernels of rotary position embedding share.

struct Params {
    count: u32,
    heads: u32,
    // Elements of a head, and half of those that turn.
    head: u32,
    turning: u32,
    // Vectors of a row.
    width4: u32,
    // What cosines and sines are multiplied by; for the inverse the sines' is negative.
    cosine: f32,
    sine: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
// High words of all frequencies, then low words, each filled up to whole vectors.
@group(0) @binding(2) var<storage, read> frequencies: array<vec4<u32>>;
#import "inout" 3
#import "nn/turns.wgsl"
