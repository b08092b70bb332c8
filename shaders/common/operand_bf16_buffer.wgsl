// Operand $ as f32, four to an entry, from bf16 in a storage buffer.

#import "common/unpack_bf16.wgsl"

@group(0) @binding($) var<storage, read> operand$: array<vec2<u32>>;

fn read$(index: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(unpack_bits4(operand$[index]));
}
