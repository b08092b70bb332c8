// Operand 5 as f32, four to an entry, read from a storage buffer.

@group(0) @binding(5) var<storage, read> operand5: array<vec4<f32>>;

fn read5(index: u32) -> vec4<f32> {
    return operand5[index];
}
