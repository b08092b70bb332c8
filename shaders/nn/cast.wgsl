// y = factor x, in another element type or the same.

struct Params {
    count: u32,
    // Of y, where its rows do not start.
    first: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "input" 1
#import "result" 2

fn element(index: u32) {
    let value = params.factor * read1(min(index, params.count - 1u));
    if (index < params.count) { write2(params.first + index, value); }
}

#import "common/elements.wgsl"
