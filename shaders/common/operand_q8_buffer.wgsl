// Operand $ as f32, four to an entry, from blocks of Q8_0 in a storage buffer.

#import "common/q8_blocks.wgsl"

@group(0) @binding($) var<storage, read> operand$: array<u32>;

fn read$(index: u32) -> vec4<f32> {
    let pair = PAIR_WORDS * (index >> 4u);
    return q8_floats(index, operand$[pair + (index & 15u)], operand$[pair + 16u]);
}
