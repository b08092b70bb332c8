// Output rows of f32, four to a vector. One of the interchangeable `out_*` files.

@group(0) @binding(4) var<storage, read_write> out_rows: array<vec4<f32>>;

fn store4(index: u32, value: vec4<f32>) {
    out_rows[index] = value;
}
