// Gradient of the gated unit: dup = dy act(gate), dgate = dy up act'(gate).

struct Params {
    count: u32,
    factor: f32,
    // As ACT; the host twin reads it here.
    act: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "input" 1
#import "input" 2
#import "input" 3
#import "result" 4
#import "result" 5

#import "nn/gate_forms.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let both = activated_with_slope(read1(at));
    let d = read3(at);
    let to_gate = d * read2(at) * both[1];
    if (index < params.count) {
        write4(index, to_gate);
        write5(index, d * both[0]);
    }
}

#import "common/elements.wgsl"
