// SiLU-gated unit: y = factor gate sigmoid(gate) up.

struct Params {
    count: u32,
    // Of y; a power of two.
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "input" 1
#import "input" 2
#import "result" 3

#import "nn/sigmoid.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let g = read1(at);
    let value = params.factor * (g * sigmoid(g) * read2(at));
    if (index < params.count) { write3(index, value); }
}

#import "common/elements.wgsl"
