// The embedding table in f32.

@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;

fn read_table(index: u32) -> vec4<f32> {
    return table[index];
}
