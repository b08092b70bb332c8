// Gated unit: y = factor act(gate) up.

struct Params {
    count: u32,
    // Of y; a power of two.
    factor: f32,
    // As ACT; the host twin reads it here.
    act: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "input" 1
#import "input" 2
#import "result" 3

#import "nn/gate_forms.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let value = params.factor * (activated(read1(at)) * read2(at));
    if (index < params.count) { write3(index, value); }
}

#import "common/elements.wgsl"
