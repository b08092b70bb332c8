// Operand $ as f32, four to an entry, read from a storage buffer.

@group(0) @binding($) var<storage, read> operand$: array<vec4<f32>>;

fn read$(index: u32) -> vec4<f32> {
    return operand$[index];
}
