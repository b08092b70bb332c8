// Result $, four elements to an entry, in f32. One of the interchangeable `result_*` files.

@group(0) @binding($) var<storage, read_write> result$: array<vec4<f32>>;

fn write$(index: u32, value: vec4<f32>) {
    result$[index] = value;
}

// Half an entry.
fn write_pair$(index: u32, value: vec2<f32>) {
    result$[index / 2u][2u * (index & 1u)] = value.x;
    result$[index / 2u][2u * (index & 1u) + 1u] = value.y;
}
