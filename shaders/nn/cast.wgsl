// y = x in another element type.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "input" 1
#import "result" 2

fn element(index: u32) {
    let value = read1(min(index, params.count - 1u));
    if (index < params.count) { write2(index, value); }
}

#import "common/elements.wgsl"
