// What happens to four elements of a product before they are written: a bias is added, the sum is kept for the backward pass, and
// GELU is taken of it. One of the interchangeable `epilogue_*` files.

override BIAS: u32 = 0u;

@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
#import "result" 5

#import "nn/gelu_forms.wgsl"

fn epilogue(row: u32, j4: u32, value: vec4<f32>) -> vec4<f32> {
    var x = value;
    if (BIAS == 1u) { x += bias[j4]; }
    let columns = vec4<u32>(4u * j4) + vec4<u32>(0u, 1u, 2u, 3u);
    write5(row * params.c_stride + j4, select(vec4<f32>(0.0), x, columns < vec4<u32>(params.n)));
    return gelu(x);
}
