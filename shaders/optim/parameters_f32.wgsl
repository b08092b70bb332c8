// Parameters that are kept in f32.

@group(0) @binding(3) var<storage, read_write> parameters: array<vec4<f32>>;

fn parameters4(at: u32) -> vec4<f32> {
    return parameters[at];
}

fn store_parameters4(at: u32, p: vec4<f32>) {
    parameters[at] = p;
}
