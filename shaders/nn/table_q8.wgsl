// The embedding table in blocks of Q8_0.

#import "common/q8_blocks.wgsl"

@group(0) @binding(1) var<storage, read> table: array<u32>;

fn read_table(index: u32) -> vec4<f32> {
    let pair = PAIR_WORDS * (index >> 4u);
    return q8_floats(index, table[pair + (index & 15u)], table[pair + 16u]);
}
