// Operand $, which is changed in place: four elements to an entry, in f32. One of the interchangeable `inout_*` files.

@group(0) @binding($) var<storage, read_write> inout$: array<vec4<f32>>;

fn read$(index: u32) -> vec4<f32> {
    return inout$[index];
}

fn write$(index: u32, value: vec4<f32>) {
    inout$[index] = value;
}

// Single elements.
fn read_element$(index: u32) -> f32 {
    return inout$[index / 4u][index % 4u];
}

fn write_element$(index: u32, value: f32) {
    inout$[index / 4u][index % 4u] = value;
}
