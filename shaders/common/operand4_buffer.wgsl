// Operand 4 as f32, four to an entry, read from a storage buffer.

@group(0) @binding(4) var<storage, read> operand4: array<vec4<f32>>;

fn read4(index: u32) -> vec4<f32> {
    return operand4[index];
}
