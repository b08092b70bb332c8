// Operand $ as f32, four to an entry, from f16 in a storage buffer.

#import "common/half_floats.wgsl"

@group(0) @binding($) var<storage, read> operand$: array<vec2<u32>>;

fn read$(index: u32) -> vec4<f32> {
    return half_floats(operand$[index]);
}
