// y = (y if it is added to +) factor x where the mask of x's element is set, else 0. Which elements stay hangs on a row's sample and position, the
// module and the key alone: one word of Philox for each.

struct Params {
    // Vectors of y.
    count: u32,
    // Vectors of a row.
    width4: u32,
    // Words below it leave their element out.
    threshold: u32,
    // The number of the module.
    mask: u32,
    key0: u32,
    key1: u32,
    factor: f32,
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> samples: array<u32>;
#import "input" 3
#import "inout" 4

#import "product"
#import "common/philox.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let row = at / params.width4;
    let counter = vec4<u32>(at % params.width4, samples[row], positions[row], params.mask);
    let words = philox(counter, vec2<u32>(params.key0, params.key1));
    let kept = select(vec4<f32>(0.0), params.factor * read3(at), words >= vec4<u32>(params.threshold));
    let before = select(vec4<f32>(0.0), read4(at), params.accumulate == 1u);
    if (index < params.count) { write4(index, before + kept); }
}

#import "common/elements.wgsl"
