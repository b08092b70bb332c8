// What happens to four elements of a product before they are written: a bias is added, and an activation is taken of the sum. One of the
// interchangeable `epilogue_*` files.

override BIAS: u32 = 0u;

@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;

#import "nn/gate_forms.wgsl"

fn epilogue(row: u32, j4: u32, value: vec4<f32>) -> vec4<f32> {
    var x = value;
    if (BIAS == 1u) { x += bias[j4]; }
    return activated(x);
}
