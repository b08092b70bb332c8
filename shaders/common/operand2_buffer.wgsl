// Operand 2 as f32, four to an entry, read from a storage buffer.

@group(0) @binding(2) var<storage, read> operand2: array<vec4<f32>>;

fn read2(index: u32) -> vec4<f32> {
    return operand2[index];
}
