// Operand 1 as f32, four to an entry, read from a storage buffer.

@group(0) @binding(1) var<storage, read> operand1: array<vec4<f32>>;

fn read1(index: u32) -> vec4<f32> {
    return operand1[index];
}
