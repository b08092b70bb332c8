// Gradient of the SiLU-gated unit: with s = sigmoid(gate), dup = dy gate s, dgate = dy up s (1 + gate (1 - s)).

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#import "input" 1
#import "input" 2
#import "input" 3
#import "result" 4
#import "result" 5

#import "nn/sigmoid.wgsl"

fn element(index: u32) {
    let at = min(index, params.count - 1u);
    let g = read1(at);
    let s = sigmoid(g);
    let d = read3(at) * s;
    let to_gate = d * read2(at) * (1.0 + g * (1.0 - s));
    if (index < params.count) {
        write4(index, to_gate);
        write5(index, d * g);
    }
}

#import "common/elements.wgsl"
