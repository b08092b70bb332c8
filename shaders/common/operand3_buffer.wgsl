// Operand 3 as f32, four to an entry, read from a storage buffer.

@group(0) @binding(3) var<storage, read> operand3: array<vec4<f32>>;

fn read3(index: u32) -> vec4<f32> {
    return operand3[index];
}
